"""A discussion's thread in the mailbox: what every mail of it shares.

The subject is frozen with the first mail and its id stands at the end in round brackets: Gmail
and Exchange split a thread whose subject changes, and a leading `[id]` is stripped by
RFC 5256 section 2.1, which merges two customers into one thread. Dates are made so that sibling
mails sort as the words were said. Everything here is pure; making the mails is `mail.compose`'s.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mailbridge.domain.discussion import Discussion, DiscussionKind
from mailbridge.domain.wording import clean_line

__all__ = [
    "CATCH_UP",
    "SUBJECT_LIMIT",
    "Thread",
    "frozen_subject",
    "internal_date",
    "next_date",
    "thread_index",
]

SUBJECT_LIMIT = 115
"""Characters; with `Re: ` before it a subject stays below 120 (Exchange hashes the first 255)."""

CATCH_UP = timedelta(hours=2)
"""A message older than this when it is filed came late: it is dated now in the folder."""

_TITLES = {
    "fr": {
        DiscussionKind.CLAIM: "Réclamation",
        DiscussionKind.ORDER_QUESTION: "Question sur une commande",
        DiscussionKind.OFFER_QUESTION: "Question sur un produit",
    },
    "en": {
        DiscussionKind.CLAIM: "Claim",
        DiscussionKind.ORDER_QUESTION: "Question about an order",
        DiscussionKind.OFFER_QUESTION: "Question about a product",
    },
}
_ORDER = {"fr": "commande", "en": "order"}

# What base-subject extraction would strip (RFC 5256 2.1), plus the answer marks of the languages
# a customer of a French marketplace may write in. Left in place they change between clients.
_ANSWER_MARK = re.compile(
    r"^(?:(?:re|ré|ré?p|fwd?|tr|aw|wg|sv|vs|antw|rv|enc|i|r)\s*(?:\[\d*\])?\s*:|\[[^\]]*\])\s*",
    re.IGNORECASE,
)
# What the marketplace writes behind its own titles, and a list of mails is no place for: the
# product's number and condition, which the order card has (« Je n'ai pas reçu ma commande - Copeaux
# de chêne - Occasion (AUC2009863600561) »), and the moment, which the mail has (« Demande de
# modification d'adresse de livraison 17/10/2023 15:58:01 »). Both were seen.
_PRODUCT = re.compile(
    r"(?:\s+-\s+(?i:neuf|neuve|(?:d['’])?occasion|reconditionnée?|new|used|refurbished)"
    r"(?:\s*[-,–:]\s*[^\W\d_][\w' ’]{2,20})?)?"
    r"\s*\((?=(?:[A-Z]*[0-9]){8})[0-9A-Z]{9,20}\)$"
)
_MOMENT = re.compile(r"\s+[0-3]\d/[01]\d/20\d\d\s+[0-2]\d:[0-5]\d:[0-5]\d$")
_FOREIGN_ID = re.compile(r"\(\s*([A-Za-z]{2}-[0-9A-Za-z]{1,16})\s*\)")

_FILETIME_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Thread:
    """What a mail of the thread is made with."""

    discussion_id: str
    reference: str
    short: str
    kind: DiscussionKind
    subject: str
    """Frozen; without `Re: `, with the id at its end."""
    customer: str
    """The customer's display name, cleaned; a general word where the service gave none."""
    reply_address: str
    """Addr-spec that goes into Reply-To."""
    started_at: datetime
    """Date of the thread's first mail: the Thread-Index starts with it."""
    first_message_id: str | None
    """Message-ID of the thread's first mail, None while that one is being made."""
    order_number: str | None = None
    relay_address: str | None = None
    relay_confirmed_at: datetime | None = None
    claim_type: str | None = None
    topic: str = ""
    escalation: str = ""
    sales_channel: str = ""
    treated: bool = False
    """The marketplace counts it as treated, though it is open."""
    twin: str | None = None
    """Short id of the other thread of the same exchange (question turned claim)."""


def frozen_subject(discussion: Discussion, short: str, *, language: str = "fr") -> str:
    """The thread's subject: `<title> – commande <number> (CD-7F3K2)`, id always whole at its end.

    The title loses control and bidi characters, answer marks and `[..]` at its front, the
    product's number and condition or the moment at its end, and the brackets of anything that
    looks like an id of ours. Where it says nothing (a seller's own title is often the order's
    number) the kind of discussion stands there. No longer than `SUBJECT_LIMIT`.
    """
    words = language if language in _TITLES else "fr"
    number = clean_line(discussion.order_number or "", 30)
    title = _bare_title(clean_line(discussion.subject, 300))
    if title == number or not any(unicodedata.category(c)[0] in "LNPS" for c in title):
        title = _TITLES[words][discussion.kind]
    tail = f" ({short.upper()})"
    if number and number not in title[:60]:
        tail = f" – {_ORDER[words]} {number}{tail}"
    return _cut(title, SUBJECT_LIMIT - len(tail)) + tail


def _bare_title(title: str) -> str:
    title = _FOREIGN_ID.sub(r"\1", title)
    while True:
        shorter = _ANSWER_MARK.sub("", title, count=1).strip()
        if shorter == title:
            break
        title = shorter
    bare = _MOMENT.sub("", _PRODUCT.sub("", title)).strip()
    # A product's number alone still tells more than the kind of discussion.
    return bare or title


def _cut(text: str, limit: int) -> str:
    """At most `limit` characters, never through an accent or a joined emoji."""
    if len(text) <= limit:
        return text
    end = limit - 1
    while end > 0 and (unicodedata.combining(text[end]) or _joins(text[end])):
        end -= 1
    while end > 0 and _joins(text[end - 1]):
        end -= 1
    return text[:end].rstrip() + "…"


def _joins(char: str) -> bool:
    return (
        char in "\u200c\u200d" or 0xFE00 <= ord(char) <= 0xFE0F or 0x1F3FB <= ord(char) <= 0x1F3FF
    )


def thread_index(started_at: datetime, short: str, at: datetime | None = None) -> bytes:
    """Exchange's conversation index (MS-OXOMSG 2.2.1.3); its first 22 bytes are the thread's.

    Header block: the six high bytes of the first mail's FILETIME (the first of them is the
    reserved 0x01), then 16 bytes that name the thread. For any later mail, sent `at`, a child
    block of five bytes follows, so that Outlook shows it below the first.
    """
    header_time = _filetime(started_at) >> 16
    name = hashlib.sha256(f"mailbridge thread {short}".encode()).digest()[:16]
    header = header_time.to_bytes(6, "big") + name
    if at is None:
        return header
    delta = max(0, _filetime(at) - (header_time << 16))
    # 31 bits of the difference: without its low 18 bits (26 ms) as long as that fits, about
    # 1.7 years, else without its low 23 bits and with the first bit set (delta code).
    block = delta >> 18 if delta >> 49 == 0 else 1 << 31 | (delta >> 23 & 0x7FFF_FFFF)
    spread = hashlib.sha256(f"{short} {int(at.timestamp())}".encode()).digest()[0] & 0xF0
    return header + block.to_bytes(4, "big") + bytes([spread])


def _filetime(moment: datetime) -> int:
    """Windows FILETIME: 100 ns steps since 1601 (UTC)."""
    return (moment - _FILETIME_EPOCH) // timedelta(microseconds=1) * 10


def next_date(sent_at: datetime, now: datetime, previous: datetime | None) -> datetime:
    """The `Date` of a mail: when the words were said, but never in the future.

    Siblings of a thread are sorted by `Date`, which has whole seconds: one that would not come
    after the `previous` mail of the thread is set a second behind it.
    """
    date = min(sent_at, now).replace(microsecond=0)
    if previous is not None and date <= previous:
        return previous.replace(microsecond=0) + timedelta(seconds=1)
    return date


def internal_date(
    date: datetime, now: datetime, *, unread: bool, backfill: bool = False
) -> datetime:
    """The INTERNALDATE of a mail: its `Date`, which phones and Outlook then show alike.

    A mail that waits for a person and comes late (after an outage) is dated `now`, so that it
    stands on top and within a phone's "last days"; what is filed as read, and history filed at a
    first run (`backfill`), keeps its own date.
    """
    return now if unread and not backfill and now - date > CATCH_UP else date
