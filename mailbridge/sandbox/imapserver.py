"""An embedded IMAP server (pymap, mailboxes in memory) for the demo and for quick tests.

Known limits of pymap, which are also what some real servers lack: no SPECIAL-USE, no NAMESPACE,
LIST with RETURN is answered BAD, no CONDSTORE. Integration tests use Dovecot.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from types import TracebackType

from proxyprotocol.sock import SocketInfo
from pymap.backend.dict import Config, Login
from pymap.backend.dict.filter import FilterSet
from pymap.backend.dict.mailbox import MailboxData, MailboxSet
from pymap.concurrent import Subsystem
from pymap.imap import IMAPServer
from pymap.parsing.message import AppendMessage
from pymap.parsing.specials import ObjectId
from pymap.parsing.specials.fetchattr import FetchRequirement
from pymap.parsing.specials.flag import (
    Answered,
    Deleted,
    Draft,
    Flag,
    Flagged,
    Seen,
    Wildcard,
)
from pymap.user import Passwords, UserMetadata
from pysasl import SASLAuth
from pysasl.hashing import Cleartext

from mailbridge.sandbox.clock import Clock

__all__ = ["FOLDERS", "ImapServer", "StoredMail"]

FOLDERS = ("Sent", "Drafts", "Junk", "Trash", "Archive")


@dataclass(frozen=True, slots=True)
class StoredMail:
    """One mail as a mailbox holds it; `flags` as IMAP writes them."""

    uid: int
    flags: frozenset[str]
    internal_date: datetime
    data: bytes

    @property
    def message(self) -> EmailMessage:
        """The mail, parsed."""
        message = message_from_bytes(self.data, policy=default)
        assert isinstance(message, EmailMessage)  # noqa: S101 - what policy.default makes
        return message


class _KeywordMailbox(MailboxData):
    """pymap takes keywords in APPEND but silently ignores STORE of one it has not announced."""

    @property
    def permanent_flags(self) -> frozenset[Flag]:
        return frozenset({Answered, Deleted, Draft, Flagged, Seen, Wildcard})


class _KeywordMailboxes(MailboxSet):
    def __init__(self) -> None:
        super().__init__()
        self._inbox = self._new()

    async def add_mailbox(self, name: str) -> ObjectId:
        async with self._set_lock.write_lock():
            if name in self._set:
                raise ValueError(name)
            self._set[name] = mailbox = self._new()
            return mailbox.mailbox_id

    def _new(self) -> MailboxData:
        return _KeywordMailbox(self._content_cache, self._thread_cache)


_MECHANISMS = SASLAuth.defaults()


class _Config(Config):
    """pymap asks DNS for this machine's name at every connection, which may take seconds, and
    searches all installed packages for sign-in mechanisms."""

    @property
    def tls_auth(self) -> SASLAuth:
        return _MECHANISMS

    @property
    def greeting(self) -> bytes:
        return b"Server ready"


class ImapServer:
    """Mailboxes of one provider. Use as `async with`; contents and port survive a restart."""

    def __init__(
        self,
        accounts: Mapping[str, str],
        *,
        clock: Clock,
        folders: Iterable[str] = FOLDERS,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`accounts` maps login to password; `tls` makes it an IMAPS server.

        `port` 0: the system chooses one at the first start.
        """
        self.clock = clock
        self.host = host
        self._accounts = dict(accounts)
        self._folders = tuple(folders)
        self._tls = tls
        self._port = port
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        args = Namespace(passlib_cfg=None, proxy_protocol=None)
        self._config = _Config(
            args,
            demo_data=False,
            demo_user="",
            demo_password="",
            host=host,
            port=0,
            ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
            tls_enabled=False,
            hash_context=Cleartext(),
            cpu_subsystem=Subsystem.for_asyncio(),
            invalid_user_sleep=0.0,
        )
        self._login = Login(self._config)
        self._mailboxes: dict[str, _KeywordMailboxes] = {}

    @property
    def port(self) -> int:
        """The port; 0 where the system has not chosen yet."""
        return self._port

    async def start(self) -> None:
        """Listen; creates the accounts at the first start."""
        for user, password in self._accounts.items():
            if user not in self._mailboxes:
                await self._create(user, password)
        imap = IMAPServer(self._login, self._config)

        async def connected(stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - start_server runs callbacks in tasks
            self._connections[task] = writer
            try:
                await imap(stream, writer, SocketInfo.get(writer, None))
            finally:
                self._connections.pop(task, None)

        self._server = await asyncio.start_server(
            connected, self.host, self._port, ssl=self._tls, limit=2**20
        )
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and cut every connection (clients see the end of the stream)."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        self.cut()
        if self._connections:
            # A cut connection ends by itself; cancelling first would orphan pymap's IDLE task.
            await asyncio.wait(set(self._connections), timeout=1)
        for task in list(self._connections):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
        await server.wait_closed()

    def cut(self) -> None:
        """Reset every connection; the server goes on."""
        for writer in list(self._connections.values()):
            writer.transport.abort()

    async def __aenter__(self) -> ImapServer:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    # --- a test's own hands ------------------------------------------------------------------

    async def append(
        self,
        user: str,
        data: bytes,
        *,
        folder: str = "INBOX",
        flags: Iterable[str] = (),
        internal_date: datetime | None = None,
    ) -> int:
        """Put a mail into a folder behind every client's back; gives its UID."""
        mailbox = await self._mailboxes[user].get_mailbox(folder)
        stored = await mailbox.append(
            AppendMessage(
                data,
                internal_date or self.clock(),
                frozenset(Flag(flag.encode()) for flag in flags),
            ),
            recent=True,
        )
        return stored.uid

    async def mails(self, user: str, folder: str = "INBOX") -> list[StoredMail]:
        """What a folder holds, by UID; KeyError if there is no such folder."""
        mailbox = await self._mailboxes[user].get_mailbox(folder)
        found = []
        async for message in mailbox.messages():
            loaded = await message.load_content(FetchRequirement.CONTENT)
            found.append(
                StoredMail(
                    message.uid,
                    frozenset(bytes(flag).decode() for flag in message.permanent_flags),
                    message.internal_date,
                    bytes(loaded.content),
                )
            )
        return sorted(found, key=lambda mail: mail.uid)

    async def folders(self, user: str) -> Sequence[str]:
        """Names of all folders."""
        tree = await self._mailboxes[user].list_mailboxes()
        return [entry.name for entry in tree.list() if entry.exists]

    async def remove(self, user: str, uids: Iterable[int], *, folder: str = "INBOX") -> None:
        """Delete mails for good."""
        mailbox = await self._mailboxes[user].get_mailbox(folder)
        await mailbox.delete(list(uids))

    async def recreate(self, user: str, folder: str) -> None:
        """Delete a folder and create it empty: its UIDVALIDITY changes."""
        await self._mailboxes[user].delete_mailbox(folder)
        await self._mailboxes[user].add_mailbox(folder)

    async def _create(self, user: str, password: str) -> None:
        hashed = await Passwords(self._config).hash_password(password)
        self._login.users_dict[user] = UserMetadata(self._config, user, password=hashed)
        mailboxes = _KeywordMailboxes()
        for folder in self._folders:
            await mailboxes.add_mailbox(folder)
            await mailboxes.set_subscribed(folder, True)
        self._mailboxes[user] = mailboxes
        self._config.set_cache[user] = (mailboxes, FilterSet())
