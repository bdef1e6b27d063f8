"""The mail to the customer: built new from the authored text, so that nothing else can leave.

No header of the reply is copied, no part of it but the text and the files that were chosen.
The last check before it leaves is `check_outgoing`; what was authored is `authored`'s business.
An answer carries no Auto-Submitted, as a person wrote it; an acknowledgement does (RFC 3834
section 5), and asks for no automatic answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from mailbridge.domain.command import Held, parse
from mailbridge.domain.identity import Identity
from mailbridge.domain.notice import HoldReason
from mailbridge.domain.vocabulary import Vocabulary
from mailbridge.domain.wording import clean_line, clean_text, fold_line
from mailbridge.mail.headers import Headers
from mailbridge.mail.mime import file_part, multipart, text_part

__all__ = ["CustomerMail", "Leak", "check_outgoing", "customer_mail", "neutral_subject"]

_ID_AT_END = re.compile(r"\s*\([A-Za-z]{2}-[0-9A-Za-z]{1,16}\)\s*$")


class Leak(StrEnum):
    """What must never reach a customer; the fact `what` of a LEAK hold."""

    REPLY_ADDRESS = "reply_address"
    MESSAGE_ID = "message_id"
    INVALID_ADDRESS = "invalid_address"
    CODE = "code"
    COMMAND = "command"


# Identity knows the forms of its own names, and describes what it found.
_NAMES = {
    "a reply address of a discussion": Leak.REPLY_ADDRESS,
    "a Message-ID of mailbridge": Leak.MESSAGE_ID,
    "an address under .invalid": Leak.INVALID_ADDRESS,
}

# A line that holds the mail for one of these was meant as a command; a word nobody knows was not.
_MEANT = frozenset(
    {
        HoldReason.NEAR_COMMAND,
        HoldReason.BAD_ARGUMENT,
        HoldReason.MISPLACED_COMMAND,
        HoldReason.CONTRADICTION,
        HoldReason.ECHOED_COMMAND,
    }
)


@dataclass(frozen=True, slots=True)
class CustomerMail:
    """All that the mail to the customer is made of."""

    sender: str
    """Addr-spec registered at the marketplace."""
    sender_name: str
    recipient: str = field(repr=False)
    """The relay address."""
    subject: str
    """The thread's frozen subject; our id is taken off."""
    message_id: str
    date: datetime
    """Aware."""
    text: str = field(repr=False)
    """Authored text within its frame, `\\n` line ends."""
    attachments: tuple[tuple[str, str, bytes], ...] = field(default=(), repr=False)
    """(file name, media type, octets)."""
    automatic: bool = False
    """An acknowledgement, which nobody wrote."""


def customer_mail(mail: CustomerMail) -> bytes:
    """The mail, 7-bit with CRLF, the same octets every time.

    Raises ValueError for an address that cannot be written (see `headers.ascii_domain`).
    """
    headers = Headers()
    headers.address("From", clean_line(mail.sender_name), mail.sender)
    headers.address("To", "", mail.recipient)
    headers.text("Subject", neutral_subject(mail.subject))
    headers.date("Date", mail.date)
    headers.ids("Message-ID", [mail.message_id])
    if mail.automatic:
        headers.raw("Auto-Submitted", "auto-replied")
        # Exchange and Outlook go by this one ([MS-OXCMAIL] 2.1.3.2.20).
        headers.raw("X-Auto-Response-Suppress", "All")
    headers.raw("MIME-Version", "1.0")
    body = text_part(clean_text(mail.text))
    if mail.attachments:
        files = [file_part(name, kind, data) for name, kind, data in mail.attachments]
        body = multipart("mixed", [body, *files], seed=mail.message_id)
    return bytes(headers) + body


def neutral_subject(subject: str) -> str:
    """`Re: <title> – commande <number>`: the thread's subject without our id."""
    title = clean_line(_ID_AT_END.sub("", subject), 200)
    return f"Re: {title}" if title else "Re:"


def check_outgoing(
    text: str,
    identity: Identity,
    codes: Iterable[str] = (),
    vocabulary: Vocabulary | None = None,
) -> Leak | None:
    """The first thing in `text` that must not leave, None for a clean text.

    `codes` are the one-time codes of this discussion. Lines that stand behind one of our marks
    or a quote sign are read too: they are copies of a notice or of a quote.
    """
    found = identity.leaks(text)
    if found is not None:
        return _NAMES[found]
    # Figures may be grouped as a person would (`482 913`).
    grouped = re.sub(r"(?<=\d)[\s\u00a0\u202f.-](?=\d)", "", text)
    for code in filter(None, codes):
        alone = re.compile(rf"(?<!\d){re.escape(code)}(?!\d)")
        if alone.search(text) or alone.search(grouped):
            return Leak.CODE
    for line in text.split("\n"):
        # One line at a time: what is misplaced or contradicts must not hide what leaks.
        read = parse(fold_line(line).lstrip("›>| "), vocabulary)
        if isinstance(read, Held):
            if read.reason in _MEANT:
                return Leak.COMMAND
        elif read.commands:
            return Leak.COMMAND
    return None
