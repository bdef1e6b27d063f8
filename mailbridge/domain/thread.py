"""A discussion's thread in the mailbox: what every mail of it shares.

The subject is frozen with the first mail and its id stands at the end in round brackets: Gmail
and Exchange split a thread whose subject changes, and a leading `[id]` is stripped by
RFC 5256 section 2.1, which merges two customers into one thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mailbridge.domain.discussion import DiscussionKind

__all__ = ["Thread"]


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
    twin: str | None = None
    """Short id of the other thread of the same exchange (question turned claim)."""
