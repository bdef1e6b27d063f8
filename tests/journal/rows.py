"""Builders for the journal's rows, and the journal's clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from mailbridge.domain.closing import ClosingState
from mailbridge.domain.delivery import DeliveryState
from mailbridge.domain.discussion import AuthorKind, DiscussionKind, Status
from mailbridge.domain.filing import FilingState
from mailbridge.domain.intake import IntakeState
from mailbridge.journal.tables import (
    ClosingRow,
    DeliveryRow,
    DiscussionRow,
    FilingRow,
    MessageRow,
    ReplyRow,
)

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
BRINDILLE = "brindille"


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


def discussion(ident: str = "7731", **changes: Any) -> DiscussionRow:
    values: dict[str, Any] = {
        "account": BRINDILLE,
        "id": ident,
        "reference": ident,
        "short": f"cd-{ident}",
        "kind": DiscussionKind.CLAIM,
        "status": Status.OPEN,
        "created_at": NOON,
        "title": "",
        "subject": f"(CD-{ident})",
        "customer": "",
        "folder": "INBOX",
        "wanted_folder": "INBOX",
    }
    return DiscussionRow(**(values | changes))


def message(key: str, ident: str = "7731", **changes: Any) -> MessageRow:
    values: dict[str, Any] = {
        "account": BRINDILLE,
        "discussion": ident,
        "key": key,
        "raw_time": "2026-11-23T13:00:00",
        "sent_at": NOON,
        "author_kind": AuthorKind.CUSTOMER,
        "author_name": "",
        "text": "",
        "text_hash": "0" * 32,
        "seen_at": NOON,
    }
    return MessageRow(**(values | changes))


def filing(key: str, ident: str = "7731", **changes: Any) -> FilingRow:
    values: dict[str, Any] = {
        "account": BRINDILLE,
        "discussion": ident,
        "key": key,
        "message_id": f"<{ident}.{key}@mb.example>",
        "state": FilingState.PLANNED,
        "unread": True,
        "backfill": False,
        "due_at": NOON,
        "created_at": NOON,
    }
    return FilingRow(**(values | changes))


def reply(ident: str, of: str = "7731", **changes: Any) -> ReplyRow:
    values: dict[str, Any] = {
        "account": BRINDILLE,
        "id": ident,
        "discussion": of,
        "state": IntakeState.GATHERING,
        "sender": "anne@shop.example",
        "sender_name": "",
        "written_at": NOON,
        "seen_at": NOON,
        "references": "",
    }
    return ReplyRow(**(values | changes))


def delivery(of: str, number: int = 0, **changes: Any) -> DeliveryRow:
    values: dict[str, Any] = {
        "account": BRINDILLE,
        "discussion": "7731",
        "reply": of,
        "number": number,
        "state": DeliveryState.PLANNED,
        "message_id": f"<{of}.{number}@mb.example>",
        "text": "",
        "text_hash": "0" * 32,
        "due_at": NOON,
        "created_at": NOON,
    }
    return DeliveryRow(**(values | changes))


def closing(of: str | None = None, **changes: Any) -> ClosingRow:
    values: dict[str, Any] = {
        "account": BRINDILLE,
        "discussion": "7731",
        "reply": of,
        "state": ClosingState.READY,
        "customer_messages": 1,
        "due_at": NOON,
        "created_at": NOON,
    }
    return ClosingRow(**(values | changes))
