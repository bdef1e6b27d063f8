"""What the flows ask of the mailbox and of the submission server, and what those promise.

One `Mailbox` per account hands out `MailboxSession`s. All folder names here are decoded Unicode,
as a person reads them; the adapter does modified UTF-7, quoting and namespace prefixes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

__all__ = [
    "Accepted",
    "Deferred",
    "Fetched",
    "Folder",
    "FolderState",
    "MailToFile",
    "Mailbox",
    "MailboxError",
    "MailboxLost",
    "MailboxRefused",
    "MailboxSession",
    "MailboxSignIn",
    "Refused",
    "SpecialUse",
    "Submission",
    "SubmissionOutcome",
    "SubmissionUnavailable",
    "Uncertain",
]


class MailboxError(Exception):
    """Base of what a mailbox may raise; `str()` names server, folder and what to do."""


class MailboxLost(MailboxError):
    """The connection is gone or was given up (time limit, BYE, garbage).

    The command that raised it may have been carried out. The session is dead; open a new one.
    """


class MailboxRefused(MailboxError):
    """The server answered NO or BAD to this command; the session goes on.

    `retry_after` is in seconds where the server named a pause (Exchange's suggested backoff).
    """

    def __init__(self, message: str, *, code: str = "", retry_after: float | None = None):
        super().__init__(message)
        self.code = code
        """Response code in capitals without brackets (RFC 5530), e.g. OVERQUOTA, TRYCREATE."""
        self.retry_after = retry_after


class MailboxSignIn(MailboxError):
    """The server refused the credentials (or offers no way to sign in that is configured)."""


class SpecialUse(StrEnum):
    """RFC 6154 roles that matter here."""

    ALL = "\\All"
    ARCHIVE = "\\Archive"
    DRAFTS = "\\Drafts"
    JUNK = "\\Junk"
    SENT = "\\Sent"
    TRASH = "\\Trash"


@dataclass(frozen=True, slots=True)
class Folder:
    """One selectable folder; `use` from SPECIAL-USE, else guessed from French and English names.

    `guessed` tells which of the two it was.
    """

    name: str
    use: SpecialUse | None = None
    guessed: bool = False


@dataclass(frozen=True, slots=True)
class FolderState:
    """RFC 3501 2.3.1.1: the UIDs of a folder mean something only with its UIDVALIDITY."""

    uidvalidity: int
    uidnext: int


@dataclass(frozen=True, slots=True)
class MailToFile:
    """A mail to APPEND. `data` has CRLF line ends; `internal_date` is aware."""

    message_id: str
    data: bytes
    internal_date: datetime
    flags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Fetched:
    """One mail or its header; `data` is byte for byte what the server holds."""

    uid: int
    flags: frozenset[str]
    internal_date: datetime
    size: int
    """RFC822.SIZE of the whole mail in bytes, also where only the header was fetched."""
    data: bytes


class MailboxSession(Protocol):
    """One connection. Commands may be called concurrently; they are carried out one by one.

    Every method ends within the session's time limit and raises `MailboxLost`,
    `MailboxRefused` or nothing. After `MailboxLost` every later call raises it at once.
    """

    @property
    def capabilities(self) -> frozenset[str]:
        """In capitals, as the server gave them after sign-in."""
        ...

    async def folders(self) -> Sequence[Folder]:
        """All selectable folders of the personal namespace."""
        ...

    async def ensure_folder(self, name: str) -> None:
        """Create and subscribe the folder if it is not there; safe to repeat."""
        ...

    async def state(self, folder: str) -> FolderState:
        """UIDVALIDITY and UIDNEXT right now."""
        ...

    async def append(self, folder: str, mails: Sequence[MailToFile]) -> Sequence[int | None]:
        """Store the mails in this order; give their UIDs where the server tells them (UIDPLUS).

        On `MailboxLost` any leading part of the batch may be stored: search before repeating.
        """
        ...

    async def find(
        self, folder: str, message_ids: Sequence[str], *, from_uid: int = 1
    ) -> Mapping[str, int]:
        """Message-ID (with angle brackets) -> highest UID that carries exactly this id."""
        ...

    async def find_header(self, folder: str, name: str, *, from_uid: int = 1) -> Sequence[int]:
        """UIDs of mails that have this header, ascending."""
        ...

    async def uids(self, folder: str, *, from_uid: int = 1) -> Sequence[int]:
        """UIDs from `from_uid` on, ascending; mails without \\Deleted only."""
        ...

    async def uids_since(self, folder: str, day: datetime) -> Sequence[int]:
        """UIDs of mails whose INTERNALDATE is on this day or later, ascending."""
        ...

    async def headers(self, folder: str, uids: Sequence[int]) -> Sequence[Fetched]:
        """Whole header blocks; UIDs that are gone are left out."""
        ...

    async def fetch(self, folder: str, uid: int, *, limit: int | None = None) -> Fetched | None:
        """One mail without setting \\Seen, its first `limit` bytes at most; None if it is gone."""
        ...

    async def add_flags(self, folder: str, uids: Sequence[int], flags: Sequence[str]) -> None:
        """Set flags or keywords; silent about UIDs that are gone."""
        ...

    async def remove_flags(self, folder: str, uids: Sequence[int], flags: Sequence[str]) -> None:
        """Clear flags or keywords; silent about UIDs that are gone."""
        ...

    async def move(self, folder: str, uids: Sequence[int], target: str) -> None:
        """MOVE, or COPY + \\Deleted + UID EXPUNGE where there is no MOVE.

        Without MOVE and UIDPLUS the originals keep \\Deleted and are not expunged: a plain
        EXPUNGE could remove other people's mails. Cut off in the middle, some may lie in both
        folders; the same call again would double those.
        """
        ...

    async def discard(self, folder: str, uids: Sequence[int]) -> None:
        """\\Deleted + UID EXPUNGE; without UIDPLUS they keep \\Deleted. Safe to repeat."""
        ...

    async def wait(self, folder: str, seconds: float) -> bool:
        """Wait for news of the folder by IDLE, at most so long; True if the server spoke.

        Without IDLE it just waits. The caller looks for itself: pushes are never trusted.
        """
        ...

    async def aclose(self) -> None:
        """LOGOUT if the connection is well, then close; never raises, never hangs."""
        ...


class Mailbox(Protocol):
    """Where sessions come from; one account's mailbox."""

    def session(self) -> AbstractAsyncContextManager[MailboxSession]:
        """A new signed-in connection, closed on leaving the block; raises `MailboxError`."""
        ...


@dataclass(frozen=True, slots=True)
class Accepted:
    """The server took responsibility: a 2xx after the final dot. `reply` is its text.

    `ident` is the message's own id where the marketplace itself took it and said so; `opened`
    that of the discussion it opened.
    """

    reply: str
    ident: str = ""
    opened: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """Surely not sent and not worth repeating: 5xx about this mail, or (code 0) an unfit one."""

    code: int
    reply: str


@dataclass(frozen=True, slots=True)
class Deferred:
    """Surely not sent, may work later: 4xx, no connection, lost before the final dot.

    A refused sign-in too, with its 5xx code: the operator mends it, and the mail must then go.
    """

    code: int
    """0 where no reply code came."""
    reply: str


@dataclass(frozen=True, slots=True)
class Uncertain:
    """The final dot was (perhaps) sent and no readable reply came: it may have been delivered."""

    detail: str


SubmissionOutcome = Accepted | Refused | Deferred | Uncertain


class Submission(Protocol):
    """The shop's own submission server (RFC 6409)."""

    async def submit(self, sender: str, recipient: str, data: bytes) -> SubmissionOutcome:
        """Hand over one mail to one recipient.

        `data` has CRLF line ends and 7-bit content. Never raises for what the server or the
        network did, and never repeats by itself; cancellation before the final dot means
        nothing was sent, after it the task ends with CancelledError and the journal's word
        `submitting` stands for "uncertain".
        """
        ...

    async def check(self) -> str:
        """Connect, secure, sign in, leave; one line that says what was found.

        Raises `SubmissionUnavailable` with the reason.
        """
        ...

    async def aclose(self) -> None:
        """Close the kept connection; never raises, never hangs."""
        ...


class SubmissionUnavailable(Exception):
    """`check` could not get through; `str()` says at which step and what to do."""
