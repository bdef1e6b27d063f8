"""Builders for tests against real mailboxes: a mail to file, its date, what a folder holds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

from mailbridge.mail.imap import ImapSession
from mailbridge.mail.port import MailToFile
from tests.dovecot import PASSWORD

__all__ = ["NOON", "mail", "password", "stored"]

# In the past: Dovecot replaces an INTERNALDATE of the future by its own time.
NOON = datetime(2025, 11, 23, 12, 0, 7, tzinfo=timezone(timedelta(hours=1)))


async def password() -> str:
    return PASSWORD


def mail(
    number: int | str, *, body: bytes = b"Bonjour,\r\n", header: str = "", flags: Sequence[str] = ()
) -> MailToFile:
    message_id = f"<m.{number}@mb.shop.example>"
    head = f"Message-ID: {message_id}\r\nSubject: Commande {number}\r\n{header}\r\n"
    return MailToFile(message_id, head.encode() + body, NOON, frozenset(flags))


async def stored(session: ImapSession, folder: str = "INBOX") -> list[bytes]:
    """All mails of a folder, octet for octet, in UID order."""
    uids = await session.uids(folder)
    mails = [await session.fetch(folder, uid) for uid in uids]
    return [found.data for found in mails if found]
