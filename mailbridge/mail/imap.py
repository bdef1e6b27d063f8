"""The mailbox over IMAP: `mail.port`'s promises kept on servers as they are.

Which commands are sent, how capabilities change them, and what is read out of the answers. The
guarded connection is `imap_guard`'s, signing in `imap_signin`'s, folder names `imap_names`'s,
the shape of answers `imap_values`'s. The rule: every answer is checked against what was asked;
servers find substrings, tell of other mails in passing, and count `n:*` backwards.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime

from aioimaplib.aioimaplib import time2internaldate

from mailbridge.mail.imap_guard import Connection
from mailbridge.mail.imap_names import Namespace, decode_name, guess_use, quote
from mailbridge.mail.imap_signin import ImapSettings, SecretSource, connect, tls_context
from mailbridge.mail.imap_values import (
    Item,
    appended_uids,
    batches,
    fetch_items,
    imap_date,
    internal_date,
    list_row,
    message_ids,
    namespace_row,
    numbers,
    status_items,
    uid_set,
)
from mailbridge.mail.imap_wire import Reply
from mailbridge.mail.port import (
    Fetched,
    Folder,
    FolderState,
    MailboxLost,
    MailboxRefused,
    MailToFile,
    SpecialUse,
)

__all__ = ["ImapMailbox", "ImapSession", "ImapSettings", "SecretSource"]

MAILS_A_BATCH = 50
OCTETS_A_BATCH = 4 * 1024 * 1024
ASK_FIRST = 1024 * 1024
"""Mails larger than this are announced and sent when the server agrees: one that finds it too
large could only hang up on a mail sent unasked (RFC 7888 4)."""
IDS_A_SEARCH = 20
HEADERS_A_FETCH = 100
"""With some 10 kB of header each, a megabyte an answer."""

_FLAG = re.compile(r"\\?[A-Za-z0-9$_.!#&'+,/:;<=>?@^`|~-]+")
_USES = {use.value.lower(): use for use in SpecialUse}


class ImapMailbox:
    """One account's mailbox; implements `port.Mailbox`."""

    def __init__(
        self,
        settings: ImapSettings,
        secret: SecretSource,
        *,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._settings = settings
        self._secret = secret
        self._context = ssl_context

    @asynccontextmanager
    async def session(self) -> AsyncIterator[ImapSession]:
        """A new signed-in connection, closed on leaving the block.

        Raises MailboxLost (try again later), MailboxSignIn (credentials), MailboxRefused (the
        server is busy) or plain MailboxError (settings and server don't fit).
        """
        if self._context is None and self._settings.security != "plain":
            self._context = await asyncio.to_thread(tls_context, self._settings.ca_file)
        connection = await connect(self._settings, self._secret, self._context)
        try:
            yield ImapSession(connection, await _namespace(connection))
        finally:
            await connection.aclose()


async def _namespace(connection: Connection) -> Namespace:
    """RFC 2342, else the delimiter alone; odd answers count as none."""
    async with connection.turn():
        with suppress(ValueError):
            if "NAMESPACE" in connection.capabilities:
                for row in (await connection.run("NAMESPACE")).rows:
                    match namespace_row(row):
                        case [(prefix, delimiter), *_], foreign:
                            return Namespace(decode_name(prefix), delimiter, tuple(foreign))
            for listed in map(list_row, (await connection.run("LIST", '""', '""')).rows):
                if listed:
                    return Namespace("", listed.delimiter)
    return Namespace()


class ImapSession:
    """One connection; implements `port.MailboxSession`."""

    def __init__(self, connection: Connection, namespace: Namespace) -> None:
        self._connection = connection
        self._namespace = namespace

    @property
    def capabilities(self) -> frozenset[str]:
        """In capitals, as the server gave them after sign-in."""
        return self._connection.capabilities

    # --- folders ---

    async def folders(self) -> Sequence[Folder]:
        """All selectable folders of the personal namespace, without its prefix."""
        # RFC 6154 2: with LIST-EXTENDED the roles are told on request only.
        extended = {"SPECIAL-USE", "LIST-EXTENDED"} <= self.capabilities
        pattern = '"*" RETURN (SPECIAL-USE)' if extended else '"*"'
        async with self._connection.turn():
            reply = await self._connection.run("LIST", '""', pattern)
        found: dict[str, Folder] = {}
        with self._reading("LIST"):
            for listed in filter(None, map(list_row, reply.rows)):
                name = self._namespace.shown(listed.name)
                if name is None or listed.attributes & {"\\noselect", "\\nonexistent"}:
                    continue
                use = next((_USES[a] for a in sorted(listed.attributes) if a in _USES), None)
                guess = guess_use(name) if use is None else None
                found[name] = Folder(name, use or guess, guessed=guess is not None)
        return tuple(found.values())

    async def ensure_folder(self, name: str) -> None:
        """Create and subscribe the folder if it is not there; safe to repeat."""
        mailbox = self._namespace.wire(name)
        async with self._connection.turn():
            if await self._absent(name):
                try:
                    await self._connection.run(
                        "CREATE", mailbox, about=name, tolerate=("ALREADYEXISTS",)
                    )
                except MailboxRefused:
                    # A colleague's client may have been quicker, on a server without that code.
                    if await self._absent(name):
                        raise
            await self._connection.run("SUBSCRIBE", mailbox, about=name)

    async def _absent(self, name: str) -> bool:
        raw = self._namespace.raw(name)
        reply = await self._connection.run("LIST", '""', quote(raw))
        with self._reading("LIST"):
            # Compared, because a `*` or `%` in the name is a wildcard here.
            return not any(
                listed.name == raw and "\\nonexistent" not in listed.attributes
                for listed in filter(None, map(list_row, reply.rows))
            )

    async def state(self, folder: str) -> FolderState:
        """UIDVALIDITY and UIDNEXT right now."""
        mailbox = self._namespace.wire(folder)
        async with self._connection.turn():
            if self._connection.selected == mailbox:
                # STATUS of the selected folder may be as old as the client's view of it.
                await self._connection.run("NOOP")
            reply = await self._connection.run(
                "STATUS", mailbox, "(UIDVALIDITY UIDNEXT)", about=folder
            )
        with self._reading("STATUS"):
            for items in filter(None, map(status_items, reply.rows)):
                if "UIDVALIDITY" in items and "UIDNEXT" in items:
                    return FolderState(items["UIDVALIDITY"], items["UIDNEXT"])
        raise MailboxRefused(f"{self._connection.server}: STATUS {folder} told no UIDs")

    # --- storing ---

    async def append(self, folder: str, mails: Sequence[MailToFile]) -> Sequence[int | None]:
        """Store the mails in this order; give their UIDs where the server tells them.

        On MailboxLost, and on MailboxRefused too, any leading part may be stored: search
        before repeating. A refused batch is stored not at all where it was one MULTIAPPEND.
        """
        mailbox = self._namespace.wire(folder)
        uids: list[int | None] = []
        for batch in self._append_batches(mails):
            async with self._connection.turn():
                text = (await self._append(mailbox, batch, folder)).text
            uids += appended_uids(text, len(batch))
        return uids

    def _append_batches(self, mails: Sequence[MailToFile]) -> Iterator[list[MailToFile]]:
        most = MAILS_A_BATCH if {"MULTIAPPEND", "LITERAL+"} <= self.capabilities else 1
        batch: list[MailToFile] = []
        octets = 0
        for mail in mails:
            size = len(mail.data)
            alone = size > ASK_FIRST
            if batch and (alone or len(batch) == most or octets + size > OCTETS_A_BATCH):
                yield batch
                batch, octets = [], 0
            batch.append(mail)
            octets += size
            if alone:
                yield batch
                batch, octets = [], 0
        if batch:
            yield batch

    async def _append(self, mailbox: str, batch: Sequence[MailToFile], folder: str) -> Reply:
        first = batch[0]
        if "LITERAL+" in self.capabilities and len(first.data) <= ASK_FIRST:
            parts = [
                (f"{_flags(mail.flags)} {time2internaldate(mail.internal_date)}", mail.data)
                for mail in batch
            ]
            return await self._connection.append_batch(mailbox, parts, about=folder)
        return await self._connection.append_one(
            mailbox, _flags(first.flags), first.internal_date, first.data, about=folder
        )

    # --- finding ---

    async def find(
        self, folder: str, message_ids: Sequence[str], *, from_uid: int = 1
    ) -> Mapping[str, int]:
        """Message-ID (with angle brackets) -> highest UID that carries exactly this id.

        Mails marked \\Deleted count. An id that is not printable ASCII is never found.
        """
        wanted = [i for i in dict.fromkeys(message_ids) if i.isascii() and i.isprintable() and i]
        found: dict[str, int] = {}
        async with self._at(folder):
            for start in range(0, len(wanted), IDS_A_SEARCH):
                ids = wanted[start : start + IDS_A_SEARCH]
                keys = [f"HEADER Message-ID {quote(i)}" for i in ids]
                either = " ".join(["OR " + key for key in keys[:-1]] + keys[-1:])
                hits = await self._search(folder, f"UID {from_uid}:* {either}", from_uid)
                for uid, carried in (await self._message_ids(folder, hits)).items():
                    for message_id in carried.intersection(ids):
                        found[message_id] = max(uid, found.get(message_id, 0))
        return found

    async def _message_ids(self, folder: str, uids: Sequence[int]) -> Mapping[int, set[str]]:
        """SEARCH finds substrings, so what each hit really carries is read."""
        part = "BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)]"
        fetched = await self._fetch(folder, uids, part, HEADERS_A_FETCH)
        return {uid: message_ids(_body(items) or b"") for uid, items in fetched.items()}

    async def find_header(self, folder: str, name: str, *, from_uid: int = 1) -> Sequence[int]:
        """UIDs of mails that have this header, ascending."""
        async with self._at(folder):
            return await self._search(folder, f'UID {from_uid}:* HEADER {quote(name)} ""', from_uid)

    async def uids(self, folder: str, *, from_uid: int = 1) -> Sequence[int]:
        """UIDs from `from_uid` on, ascending; mails without \\Deleted only."""
        async with self._at(folder):
            return await self._search(folder, f"UID {from_uid}:* UNDELETED", from_uid)

    async def uids_since(self, folder: str, day: datetime) -> Sequence[int]:
        """UIDs of mails whose INTERNALDATE is on this day or later, ascending.

        Servers compare days without looking at the zone (RFC 3501 6.4.4).
        """
        async with self._at(folder):
            return await self._search(folder, f"SINCE {imap_date(day)}")

    async def _search(self, folder: str, criteria: str, from_uid: int = 1) -> list[int]:
        reply = await self._connection.run("SEARCH", criteria, uid=True, about=folder)
        # `n:*` means `*:n` where n is beyond the last UID (RFC 3501 6.4.8).
        return sorted({uid for uid in numbers(reply.rows) if uid >= from_uid})

    # --- reading ---

    async def headers(self, folder: str, uids: Sequence[int]) -> Sequence[Fetched]:
        """Whole header blocks; UIDs that are gone are left out."""
        async with self._at(folder):
            found = await self._fetch(folder, uids, _WHOLE.format("[HEADER]"), HEADERS_A_FETCH)
        with self._reading("FETCH"):
            return tuple(_fetched(uid, items) for uid, items in sorted(found.items()))

    async def fetch(self, folder: str, uid: int, *, limit: int | None = None) -> Fetched | None:
        """One mail without setting \\Seen, its first `limit` octets at most; None if gone."""
        part = "[]" if limit is None else f"[]<0.{limit}>"
        async with self._at(folder):
            found = await self._fetch(folder, [uid], _WHOLE.format(part), 1)
        with self._reading("FETCH"):
            return _fetched(uid, found[uid]) if uid in found else None

    async def _fetch(
        self, folder: str, uids: Iterable[int], what: str, at_once: int
    ) -> dict[int, dict[str, Item]]:
        """Answers that carry a BODY, by UID.

        Servers mix in flags of other mails, with or without UID; EXPUNGEISSUED (RFC 5530)
        means that some are gone, and those that are not have been told.
        """
        found: dict[int, dict[str, Item]] = {}
        for batch in batches(uids, at_once):
            reply = await self._connection.run(
                "FETCH",
                uid_set(batch),
                f"(UID {what})",
                uid=True,
                about=folder,
                tolerate=("EXPUNGEISSUED",),
            )
            asked = set(batch)
            with self._reading("FETCH"):
                for items in filter(None, map(fetch_items, reply.rows)):
                    number = items.get("UID")
                    if not isinstance(number, bytes) or int(number) not in asked:
                        continue
                    found.setdefault(int(number), {}).update(items)
        return {uid: items for uid, items in found.items() if _body(items) is not None}

    # --- changing ---

    async def add_flags(self, folder: str, uids: Sequence[int], flags: Sequence[str]) -> None:
        """Set flags or keywords; silent about UIDs that are gone."""
        async with self._at(folder):
            await self._store(folder, uids, "+FLAGS.SILENT", flags)

    async def remove_flags(self, folder: str, uids: Sequence[int], flags: Sequence[str]) -> None:
        """Clear flags or keywords; silent about UIDs that are gone."""
        async with self._at(folder):
            await self._store(folder, uids, "-FLAGS.SILENT", flags)

    async def _store(
        self, folder: str, uids: Iterable[int], change: str, flags: Iterable[str]
    ) -> None:
        for batch in batches(uids):
            await self._on_uids("STORE", batch, change, _flags(flags), about=folder)

    async def move(self, folder: str, uids: Sequence[int], target: str) -> None:
        """MOVE (RFC 6851), or COPY + \\Deleted + UID EXPUNGE where there is no MOVE.

        Without MOVE and UIDPLUS the originals keep \\Deleted and are not expunged: a plain
        EXPUNGE could remove other people's mails. To the same folder: nothing is done.
        """
        mailbox = self._namespace.wire(target)
        if mailbox == self._namespace.wire(folder):
            return
        about = f"{folder} to {target}"
        async with self._at(folder):
            for batch in batches(uids):
                if "MOVE" in self.capabilities:
                    await self._on_uids("MOVE", batch, mailbox, about=about)
                    continue
                await self._on_uids("COPY", batch, mailbox, about=about)
                await self._discard(folder, batch)

    async def discard(self, folder: str, uids: Sequence[int]) -> None:
        """\\Deleted + UID EXPUNGE; without UIDPLUS they keep \\Deleted."""
        async with self._at(folder):
            for batch in batches(uids):
                await self._discard(folder, batch)

    async def _discard(self, folder: str, uids: Sequence[int]) -> None:
        await self._store(folder, uids, "+FLAGS.SILENT", ["\\Deleted"])
        if "UIDPLUS" in self.capabilities:
            await self._on_uids("EXPUNGE", uids, about=folder)

    async def _on_uids(self, name: str, uids: Sequence[int], *args: str, about: str) -> None:
        await self._connection.run(
            name, uid_set(uids), *args, uid=True, about=about, tolerate=("EXPUNGEISSUED",)
        )

    # --- waiting and leaving ---

    async def wait(self, folder: str, seconds: float) -> bool:
        """Wait for news of the folder, at most so long; True if the server spoke.

        By IDLE; without it by a NOOP every 20 seconds. Other commands may be called meanwhile:
        they end the IDLE, run, and the waiting goes on. What this session itself stored or moved
        in the folder counts as news, too.
        """
        return await self._connection.watch(self._namespace.wire(folder), seconds, about=folder)

    async def aclose(self) -> None:
        """LOGOUT if the connection is well, then close; never raises, never hangs."""
        await self._connection.aclose()

    @asynccontextmanager
    async def _at(self, folder: str) -> AsyncIterator[None]:
        """The connection for oneself, with the folder selected and up to date."""
        async with self._connection.turn():
            await self._connection.select(self._namespace.wire(folder), about=folder, fresh=True)
            yield

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        """An answer that is IMAP, but not what was asked for, ends the connection."""
        try:
            yield
        except (ValueError, LookupError):
            reason = f"the answer to {what} could not be understood"
            self._connection.wire.fail(reason)
            raise MailboxLost(f"{self._connection.server}: {reason}") from None


_WHOLE = "FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK{}"


def _body(items: Mapping[str, Item]) -> bytes | None:
    body = next((value for name, value in items.items() if name.startswith("BODY[")), None)
    return body if isinstance(body, bytes) else None


def _fetched(uid: int, items: Mapping[str, Item]) -> Fetched:
    flags, size = items["FLAGS"], items["RFC822.SIZE"]
    if not isinstance(flags, list) or not isinstance(size, bytes):
        raise ValueError("FLAGS or RFC822.SIZE is of another kind")
    return Fetched(
        uid=uid,
        flags=frozenset(f.decode("utf-8", "replace") for f in flags if isinstance(f, bytes)),
        internal_date=internal_date(items["INTERNALDATE"]),
        size=int(size),
        data=_body(items) or b"",
    )


def _flags(flags: Iterable[str]) -> str:
    ordered = sorted(flags)
    for flag in ordered:
        if _FLAG.fullmatch(flag) is None:
            raise ValueError(f"{flag!r} is no IMAP flag or keyword (RFC 3501 9)")
    return f"({' '.join(ordered)})"
