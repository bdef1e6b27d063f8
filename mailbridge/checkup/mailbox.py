"""The mailbox, tried over IMAP: sign-in, what the server can do, folders, and one mail for real.

One mail of ours is filed in the closed folder, found again by its Message-ID and moved to the
trash: the same three steps every thread depends on, and the only ones that show missing rights
and a full mailbox. It arrives read, in a folder nobody watches, under an id that belongs to no
thread; where there is no trash it stays where it is, marked as deleted.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from mailbridge.adapters import language_of, mailbox_for
from mailbridge.bridge.probe import PROBE_SHORT, Proof
from mailbridge.checkup.finding import Notes
from mailbridge.config.kinds import duration_text
from mailbridge.config.models import Account, Config, Language, MailboxLayout
from mailbridge.mail.headers import Headers
from mailbridge.mail.incoming import IncomingMail, UnreadableMail, read_headers
from mailbridge.mail.port import (
    Folder,
    MailboxError,
    MailboxRefused,
    MailboxSession,
    MailToFile,
    SpecialUse,
)
from mailbridge.ops.redaction import Redactor

__all__ = ["Trace", "mailbox"]

_MISSING: Mapping[str, str] = {
    "IDLE": "replies are noticed within 20 seconds instead of at once",
    "UIDPLUS": "mails just filed are looked up by Message-ID, one search more a batch",
    "SPECIAL-USE": "Sent and trash are guessed by their names",
    "LITERAL+": "every mail filed takes one exchange more; a back-fill takes longer",
    "MULTIAPPEND": "mails are filed one at a time; a back-fill takes longer",
}
"""What the absence of a capability costs."""

_LOOKED_AT = 200
"""Newest mails of a folder among which the answer to a probe is looked for."""


@dataclass(frozen=True, slots=True)
class Trace:
    """What the headers of an answer to the probe say about where it came from."""

    folder: str
    authserv_id: str = ""
    """Of the topmost Authentication-Results (RFC 8601)."""
    dmarc_passed: bool = False
    exchange_internal: bool = False


async def mailbox(
    notes: Notes,
    config: Config,
    account: Account,
    redactor: Redactor,
    clock: Callable[[], datetime],
    proof: Proof | None,
) -> list[Trace]:
    """Try all of it; gives the traces of the answer to the probe, for `replies`."""
    imap = account.imap
    traces: list[Trace] = []
    try:
        async with mailbox_for(account, redactor).session() as session:
            notes.ok("sign-in", f"{imap.host}, {imap.security}, signed in by {imap.auth}")
            _capabilities(notes, account, session.capabilities)
            folders = await session.folders()
            await _own_folder(notes, session, account.mailbox.folder, folders)
            may_file = await _own_folder(
                notes, session, account.mailbox.closed_folder, folders, closed=True
            )
            _sent(notes, account, folders)
            trash = _trash(notes, account.mailbox, folders)
            if may_file:
                await _try_one_mail(notes, session, config, account, trash, clock())
            if proof is not None and proof.answered_at and not proof.origin:
                traces = await _traces(session, proof)
    except MailboxError as error:
        signed_in = any(f.what == "sign-in" for f in notes.findings)
        notes.bad("session" if signed_in else "sign-in", str(error))
    return traces


def _capabilities(notes: Notes, account: Account, offered: frozenset[str]) -> None:
    here = [name for name in ("IDLE", "MOVE", *list(_MISSING)[1:]) if name in offered]
    notes.ok("capabilities", ", ".join(here) or "none beyond plain IMAP4rev1")
    for name, cost in _MISSING.items():
        if name not in offered:
            notes.info(f"no {name}", cost)
    if "IDLE" in offered and not account.imap.idle:
        poll = duration_text(account.imap.poll)
        notes.info("IDLE", f"switched off (imap.idle): replies are noticed within {poll}")
    if "MOVE" not in offered:
        if "UIDPLUS" in offered:
            notes.info("no MOVE", "threads are copied and the originals removed, two steps more")
        else:
            notes.warn(
                "no MOVE",
                "and no UIDPLUS: when a thread moves, the originals stay where they were, marked "
                "as deleted",
                "have a mail client expunge (« compact ») the folder now and then",
            )


async def _own_folder(
    notes: Notes,
    session: MailboxSession,
    name: str,
    folders: Sequence[Folder],
    *,
    closed: bool = False,
) -> bool:
    """Whether a folder we file in is there, or could be made."""
    what = "closed folder" if closed else "folder"
    if name.upper() == "INBOX" or any(f.name == name for f in folders):
        notes.ok(what, name)
        return True
    try:
        await session.ensure_folder(name)
    except MailboxRefused as error:
        notes.bad(
            what,
            f"{name} is not there and may not be made: {error}",
            "make it by hand, and give this user the right to read, write and file there",
        )
        return False
    notes.ok(what, f"{name}: was not there, made now")
    return True


def _sent(notes: Notes, account: Account, folders: Sequence[Folder]) -> None:
    """The folders replies are looked for in, beside the inbox (as `bridge.intake` does)."""
    layout = account.mailbox
    there = {f.name for f in folders}
    for name in layout.sent_folders:
        if name not in there:
            notes.bad(
                "Sent folder",
                f"{name} (mailbox.sent_folders) is not there",
                "there are: " + ", ".join(sorted(there)),
            )
    named = [name for name in layout.sent_folders if name in there]
    if named:
        notes.ok("Sent folder", ", ".join(named))
        return
    found = [f for f in folders if f.use is SpecialUse.SENT]
    if found:
        how = "guessed by name" if all(f.guessed for f in found) else "the server says so"
        notes.ok("Sent folder", f"{', '.join(f.name for f in found)} ({how})")
        return
    words = "none found: replies are only found where they are delivered"
    if account.trust.sent_copy:
        words += ", and a Sent copy cannot prove who wrote them"
    notes.warn("Sent folder", words, "name it in mailbox.sent_folders, if there is one")


def _trash(notes: Notes, layout: MailboxLayout, folders: Sequence[Folder]) -> str | None:
    named = layout.trash_folder
    if named is not None:
        if any(f.name == named for f in folders):
            notes.ok("trash", named)
            return named
        notes.warn("trash", f"{named} (mailbox.trash_folder) is not there", "correct its name")
    found = sorted(
        (f for f in folders if f.use is SpecialUse.TRASH), key=lambda f: (f.guessed, f.name)
    )
    if found and named is None:
        how = "guessed by name" if found[0].guessed else "the server says so"
        notes.ok("trash", f"{found[0].name} ({how})")
    elif not found:
        notes.info("trash", "none found", "name it in mailbox.trash_folder, if there is one")
    return found[0].name if found else None


async def _try_one_mail(
    notes: Notes,
    session: MailboxSession,
    config: Config,
    account: Account,
    trash: str | None,
    now: datetime,
) -> None:
    folder = account.mailbox.closed_folder
    mail = _sample(account.mailbox, language_of(config, account), now)
    steps = "filed"
    try:
        await session.append(folder, [mail])
        uid = (await session.find(folder, [mail.message_id])).get(mail.message_id)
        if uid is None:
            notes.bad(
                "one mail",
                f"filed in {folder}, and not found again by its Message-ID: the server's search "
                "does not see new mails, and after an interruption mails would be filed twice",
                "have the server's search index rebuilt",
            )
            return
        steps += " and found by its Message-ID"
        if trash is None:
            await session.add_flags(folder, [uid], ["\\Deleted"])
            notes.ok("one mail", f"{steps} in {folder}; left there, marked as deleted")
            return
        await session.move(folder, [uid], trash)
        notes.ok("one mail", f"{steps} in {folder}, then moved to {trash}")
    except MailboxRefused as error:
        full = error.code == "OVERQUOTA"
        notes.bad(
            "one mail",
            f"{steps} in {folder}, then: {error}" if steps != "filed" else f"{folder}: {error}",
            "the mailbox is full: make room"
            if full
            else f"give this user the right to file, flag and move mails in {folder}",
        )


def _sample(layout: MailboxLayout, language: Language, now: datetime) -> MailToFile:
    french = language is Language.FR
    domain = layout.id_domain or f"mb.{layout.address.rpartition('@')[2]}"
    # Not one of our keyed ids: no flow may take it for a mail of a thread.
    message_id = f"<check-{secrets.token_hex(12)}@{domain}>"
    headers = Headers()
    headers.address("From", "mailbridge", "check@mb.invalid")
    headers.address("To", "", layout.address)
    headers.text("Subject", "Essai de mailbridge" if french else "A trial of mailbridge's")
    headers.date("Date", now)
    headers.ids("Message-ID", [message_id])
    headers.raw("Auto-Submitted", "auto-generated")
    headers.raw("X-Auto-Response-Suppress", "All")
    headers.raw("MIME-Version", "1.0")
    headers.raw("Content-Type", "text/plain; charset=us-ascii")
    text = (
        "`mailbridge check` a essaye ce dossier. Rien a faire."
        if french
        else "`mailbridge check` has tried this folder. Nothing to do."
    )
    body = f"\r\n{text}\r\n".encode("ascii")
    return MailToFile(message_id, bytes(headers) + body, now, frozenset({"\\Seen"}))


async def _traces(session: MailboxSession, proof: Proof) -> list[Trace]:
    """What the copies of the answer to the probe show, where nothing in them is trusted yet."""
    day = datetime.fromisoformat(proof.answered_at) - timedelta(days=1)
    traces = []
    for folder in filter(None, proof.folders.split(",")):
        uids = list(await session.uids_since(folder, day))[-_LOOKED_AT:]
        for fetched in reversed(await session.headers(folder, uids)):
            try:
                head = read_headers(fetched.data)
            except UnreadableMail:
                continue
            if _answers_probe(head, proof):
                traces.append(_trace(folder, head))
                break
    return traces


def _answers_probe(head: IncomingMail, proof: Proof) -> bool:
    named = (*head.in_reply_to, *head.references)
    return head.from_.address == proof.sender and any(f".{PROBE_SHORT}." in i for i in named)


def _trace(folder: str, head: IncomingMail) -> Trace:
    verdict = head.header("Authentication-Results") or ""
    authserv_id = verdict.partition(";")[0].split()
    internal = head.header("X-MS-Exchange-Organization-AuthAs") or ""
    return Trace(
        folder,
        authserv_id=authserv_id[0] if authserv_id else "",
        dmarc_passed="dmarc=pass" in "".join(verdict.lower().split()),
        exchange_internal=internal.strip().lower() == "internal",
    )
