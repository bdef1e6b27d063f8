"""What all flows of one account share: its ports, its settings and the bells between flows."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from zoneinfo import ZoneInfo

from structlog.typing import FilteringBoundLogger

from mailbridge.config.models import Account, Language
from mailbridge.domain.deadline import AnswerTimes
from mailbridge.domain.identity import Identity, NameKind
from mailbridge.domain.routing import ReplyAddresses
from mailbridge.domain.vocabulary import Vocabulary
from mailbridge.domain.workdays import WeekHours, WorkingCalendar
from mailbridge.journal.journal import Journal, Tenure
from mailbridge.journal.tables import AccountRow
from mailbridge.journal.transaction import Transaction
from mailbridge.mail.compose import Composer
from mailbridge.mail.frame import frame_for
from mailbridge.mail.port import Mailbox, Submission
from mailbridge.marketplace.port import Marketplace

__all__ = ["Bells", "Context"]


class Bell(asyncio.Event):
    """Rung with `set`; rung twice it is heard once."""

    def __init__(self) -> None:
        super().__init__()
        self.times = 0
        """How often it was rung."""

    def set(self) -> None:
        self.times += 1
        super().set()


@dataclass(frozen=True, slots=True)
class Bells:
    """One flow tells another that there may be work."""

    filing: Bell = field(default_factory=Bell)
    outgoing: Bell = field(default_factory=Bell)
    sweep: Bell = field(default_factory=Bell)


@dataclass(frozen=True, slots=True)
class Context:
    """One account at work."""

    name: str
    config: Account
    language: Language
    tenure: Tenure
    journal: Journal
    marketplace: Marketplace
    mailbox: Mailbox
    submission: Submission
    composer: Composer
    identity: Identity
    addresses: ReplyAddresses
    clock: Callable[[], datetime]
    log: FilteringBoundLogger
    prefix: str = "cd"
    """Two letters before a short id: the numbering the reference comes from."""
    bells: Bells = field(default_factory=Bells)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        """A writing transaction on this account.

        A bell rung in it is rung again once it is committed: whoever woke before that found
        nothing to do, and would sleep on.
        """
        bells = (self.bells.filing, self.bells.outgoing)
        before = [bell.times for bell in bells]
        async with self.journal.write(self.tenure) as tx:
            yield tx
        for bell, times in zip(bells, before, strict=True):
            if bell.times != times:
                bell.set()

    def read(self) -> AbstractAsyncContextManager[Transaction]:
        """A reading transaction on this account."""
        return self.journal.read(self.name)

    @property
    def zone(self) -> ZoneInfo:
        """The seller's zone, for everything a person reads."""
        return ZoneInfo(self.config.timezone)

    def stamp(self, moment: datetime) -> str:
        """A moment as a notice's fact: ISO 8601 in the seller's zone; templates word it."""
        return moment.astimezone(self.zone).isoformat(timespec="minutes")

    @property
    def vocabulary(self) -> Vocabulary:
        """The commands of this account, with the words its configuration adds."""
        return Vocabulary.default().with_words(self.config.replies.commands)

    @property
    def answer_times(self) -> AnswerTimes:
        """Until when this shop answers."""
        clock = self.config.clock
        calendar = WorkingCalendar(
            self.zone,
            WeekHours.parse(clock.hours),
            clock.holidays,
            frozenset(date.fromisoformat(day) for day in clock.closed_on),
        )
        return AnswerTimes(calendar, clock.answer_within, clock.claims_within, clock.soon)

    def stands_still(self, account: AccountRow) -> bool:
        """Whether nothing may leave now: paused by the operator, or replies switched off."""
        return account.paused_at is not None or not self.config.replies.enabled

    def is_staff(self, address: str) -> bool:
        """Whether this is one of the configured staff identities."""
        return any(s.address.lower() == address.lower() for s in self.config.staff)

    def staff_name(self, address: str) -> str:
        """The configured name of a staff identity, empty if there is none."""
        found = (s.name for s in self.config.staff if s.address.lower() == address.lower())
        return next(found, "")

    def frame(self, text: str, customer: str, sender: str, channel: str = "") -> str:
        """The answer of `sender` within greeting and signature, as the customer of a sales channel
        reads it.

        Raises TemplateBroken.
        """
        return self.composer.frame(
            text, frame_for(self.config, sender), customer=customer, channel=channel
        )

    def mail_id(self, kind: NameKind, short: str, key: str) -> str:
        """The Message-ID of a mail of ours, from the journal's key of it."""
        digest = hashlib.sha256(f"{self.name}\0{short}\0{key}".encode()).digest()
        return self.identity.message_id(kind, short, base64.b32encode(digest)[:10].decode().lower())
