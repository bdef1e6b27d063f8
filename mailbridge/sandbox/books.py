"""The marketplace's own books: discussions, messages, relay addresses and tokens.

Pure state under an injected clock and random source; no XML, no sockets. It keeps the rules that
were seen in recorded exchanges, and where the service's rule is not known the docstring says
"our choice". Orders and their money are in `orders`.

What was seen and is kept: a message may become visible long after its own timestamp while
LastUpdatedDate (14 ms after it) has already moved; closing sets CloseDate and LastUpdatedDate to
one instant; without a status list closed discussions are left out; without dates only the last
weeks are looked at; two discussions of one order share one relay address.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from random import Random

from mailbridge.domain.discussion import AuthorKind, DiscussionKind
from mailbridge.sandbox.clock import Clock
from mailbridge.sandbox.entries import (
    BookedDiscussion,
    BookedFile,
    BookedMessage,
    RelayAddress,
)
from mailbridge.sandbox.orders import BookedOrder, OrderBook, Person

__all__ = [
    "BookedDiscussion",
    "BookedFile",
    "BookedMessage",
    "Books",
    "CloseRule",
    "CloseStatus",
    "ListFilter",
    "MailStatus",
    "RelayAddress",
    "TokenState",
]

OPERATOR_NAME = "Service client Cdiscount"
RELAY_DOMAIN = "clemarche.com"
UPDATE_LAG = timedelta(milliseconds=14)
IMPLICIT_WINDOW = timedelta(days=21)
LEASE = timedelta(weeks=4)
TOKEN_LIFE = timedelta(hours=48)


class CloseRule(Enum):
    """When a close is refused with `UnauthorizedLastAnswer`; what the service does is unknown.

    A recorded discussion was closed though its last word was the customer's and the seller had
    answered before: hence the default.
    """

    NEVER_ANSWERED = "never answered"
    LAST_WORD = "last word"


class CloseStatus(StrEnum):
    """WSDL `CloseDiscussionStatus`."""

    CLOSED = "DiscussionClosed"
    NOT_FOUND = "DiscussionNotFound"
    CANCEL_PENDING = "UnauthorizedCancelPending"
    LAST_ANSWER = "UnauthorizedLastAnswer"
    ALREADY_CLOSED = "AlreadyClosed"


class MailStatus(StrEnum):
    """WSDL `DiscussionMailStatusEnum`."""

    SUCCESS = "Success"
    CLOSED = "DiscussionClosed"
    NOT_FOUND = "DiscussionNotFound"
    UNKNOWN = "UnknownError"


class TokenState(Enum):
    """What the service thinks of a token."""

    VALID = "valid"
    UNKNOWN = "unknown"
    EXPIRED = "expired"
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class ListFilter:
    """A discussion filter as it came; `None` is "not given". Times are aware, ends inclusive."""

    begin_creation: datetime | None = None
    end_creation: datetime | None = None
    begin_modification: datetime | None = None
    end_modification: datetime | None = None
    statuses: frozenset[str] | None = None
    order_numbers: frozenset[str] | None = None
    eans: frozenset[str] | None = None
    references: frozenset[str] | None = None
    only_operator: bool = False


class Books:
    """One seller's books at the marketplace."""

    def __init__(
        self,
        clock: Clock,
        rng: Random,
        *,
        seller: str = "Maison Brindille",
        login: str = "maisonbrindille-api",
        password: str | None = None,
        senders: Iterable[str] = ("support@maison-brindille.example",),
        seller_lag: timedelta = timedelta(0),
        money_lag: timedelta = timedelta(0),
        close_rule: CloseRule = CloseRule.NEVER_ANSWERED,
    ) -> None:
        """`senders` are the addresses registered for answers by mail.

        `seller_lag`: how long a seller's message stays invisible (57 minutes were seen).
        """
        self.clock = clock
        self.rng = rng
        self.seller = seller
        self.login = login
        self.password = password or f"{rng.getrandbits(64):016x}"
        self.senders = {sender.lower() for sender in senders}
        self.seller_lag = seller_lag
        self.close_rule = close_rule
        self.orders = OrderBook(clock, money_lag=money_lag)
        self.strict_dates = True
        """Apply the implicit window of 21 days where a request names no date."""
        self._discussions: dict[int, BookedDiscussion] = {}
        self._next_id = 113_000_000 + rng.randrange(500_000)
        self._relays: dict[str, RelayAddress] = {}
        self._current: dict[tuple[str | None, int | None], RelayAddress] = {}
        self._tokens: dict[str, datetime] = {}

    def __repr__(self) -> str:
        return f"Books({self.seller!r}, {len(self._discussions)} discussions)"

    # --- discussions and messages ------------------------------------------------------------

    @property
    def discussions(self) -> Sequence[BookedDiscussion]:
        """All of them, oldest first."""
        return tuple(self._discussions.values())

    def discussion(self, ident: int) -> BookedDiscussion:
        """One discussion; raises KeyError."""
        return self._discussions[ident]

    def open_discussion(
        self,
        kind: DiscussionKind,
        subject: str,
        customer: Person,
        text: str | None,
        *,
        order_number: str | None = None,
        product_ean: str | None = None,
        product_reference: str | None = None,
        claim_type: str | None = None,
        ident: int | None = None,
        by_seller: bool = False,
    ) -> BookedDiscussion:
        """The customer (or the seller) starts a discussion; `text=None` leaves it without words."""
        if ident is None:
            self._next_id += self.rng.randrange(1, 900)
            ident = self._next_id
        now = self._now()
        if kind is DiscussionKind.CLAIM and claim_type is None:
            claim_type = "Other"
        discussion = BookedDiscussion(
            id=ident,
            kind=kind,
            subject=subject,
            customer=customer,
            created_at=now,
            updated_at=now,
            order_number=order_number,
            product_ean=product_ean,
            product_reference=product_reference,
            claim_type=claim_type,
        )
        self._discussions[ident] = discussion
        if kind is DiscussionKind.CLAIM:
            self.orders.claimed(order_number)
        if text is not None:
            if by_seller:
                self.seller_writes(discussion, text)
            else:
                self.customer_writes(discussion, text)
        return discussion

    def write(
        self,
        discussion: BookedDiscussion,
        kind: AuthorKind,
        name: str,
        text: str,
        *,
        lag: timedelta = timedelta(0),
        files: Sequence[BookedFile] = (),
    ) -> BookedMessage:
        """Add a message by anybody, visible after `lag`."""
        now = self._now()
        # The date of the discussion never lies ahead of the clock, and no message before the
        # one it answers: under a clock that stands still both are the same instant.
        at = max([now - UPDATE_LAG, *(message.at for message in discussion.messages[-1:])])
        if not discussion.messages:
            at = now
        message = BookedMessage(at, kind, name, text, now + lag, tuple(files))
        discussion.messages.append(message)
        discussion.updated_at, discussion.process_status = now, None
        return message

    def customer_writes(
        self,
        discussion: BookedDiscussion,
        text: str,
        *,
        reopens: bool = True,
        files: Sequence[BookedFile] = (),
    ) -> BookedMessage:
        """The customer writes; a closed discussion opens again (our choice)."""
        if discussion.closed and reopens:
            discussion.status, discussion.closed_at = "Open", None
        name = discussion.customer.name
        return self.write(discussion, AuthorKind.CUSTOMER, name, text, files=files)

    def seller_writes(
        self,
        discussion: BookedDiscussion,
        text: str,
        *,
        files: Sequence[BookedFile] = (),
        to: AuthorKind | None = None,
    ) -> BookedMessage:
        """The seller writes, by any way there is: visible after `seller_lag`."""
        message = self.write(
            discussion, AuthorKind.SELLER, self.seller, text, lag=self.seller_lag, files=files
        )
        message.to = to
        return message

    def operator_writes(self, discussion: BookedDiscussion, text: str) -> BookedMessage:
        """The marketplace's customer care writes."""
        return self.write(discussion, AuthorKind.OPERATOR, OPERATOR_NAME, text)

    def robot_writes(self, discussion: BookedDiscussion, text: str) -> BookedMessage:
        """The marketplace writes by itself; the sender is empty."""
        return self.write(discussion, AuthorKind.AUTOMATIC, "", text)

    def turn_into_claim(
        self, question: BookedDiscussion, claim_type: str = "PackageNotReceived"
    ) -> BookedDiscussion:
        """One exchange, two ids: the claim starts with the question's first words."""
        first = question.messages[0]
        claim = self.open_discussion(
            DiscussionKind.CLAIM,
            question.subject,
            question.customer,
            first.text,
            order_number=question.order_number,
            claim_type=claim_type,
        )
        claim.messages[0].at = first.at
        self.operator_writes(
            claim, "Le client a transformé sa question en réclamation. Merci de lui répondre."
        )
        return claim

    def visible(self, discussion: BookedDiscussion) -> list[BookedMessage]:
        """What the service shows now, oldest first."""
        now = self.clock()
        return [message for message in discussion.messages if message.visible_at <= now]

    # --- listing -----------------------------------------------------------------------------

    def listed(self, kinds: Iterable[DiscussionKind], query: ListFilter) -> list[BookedDiscussion]:
        """What a listing of these kinds shows, oldest id first."""
        wanted = set(kinds)
        return [
            discussion
            for _, discussion in sorted(self._discussions.items())
            if discussion.kind in wanted and self._matches(discussion, query)
        ]

    def _matches(self, discussion: BookedDiscussion, query: ListFilter) -> bool:
        hidden = discussion.listed_at is not None and self.clock() < discussion.listed_at
        if hidden and query.order_numbers is None:
            return False
        if query.statuses is None:
            if discussion.closed:
                return False
        elif "All" not in query.statuses and discussion.status not in query.statuses:
            return False
        created, updated = discussion.created_at, discussion.updated_at
        bounds = (
            query.begin_creation,
            query.end_creation,
            query.begin_modification,
            query.end_modification,
        )
        if all(bound is None for bound in bounds):
            if self.strict_dates and updated < self.clock() - IMPLICIT_WINDOW:
                return False
        elif not (
            _within(created, query.begin_creation, query.end_creation)
            and _within(updated, query.begin_modification, query.end_modification)
        ):
            return False
        if query.only_operator and not any(
            message.kind is AuthorKind.OPERATOR for message in self.visible(discussion)
        ):
            return False
        return (
            _among(discussion.order_number, query.order_numbers)
            and _among(discussion.product_ean, query.eans)
            and _among(discussion.product_reference, query.references)
        )

    # --- closing -----------------------------------------------------------------------------

    def close(self, ident: int) -> CloseStatus:
        """The seller closes a discussion; only messages visible by now count as answers."""
        discussion = self._discussions.get(ident)
        if discussion is None:
            return CloseStatus.NOT_FOUND
        if discussion.closed:
            return CloseStatus.ALREADY_CLOSED
        order = self.orders.get(discussion.order_number)
        if order is not None and order.cancel_pending:
            return CloseStatus.CANCEL_PENDING
        shown = self.visible(discussion)
        counted = shown[-1:] if self.close_rule is CloseRule.LAST_WORD else shown
        if not any(message.kind is AuthorKind.SELLER for message in counted):
            return CloseStatus.LAST_ANSWER
        self.close_by_force(discussion)
        return CloseStatus.CLOSED

    def close_by_force(self, discussion: BookedDiscussion) -> None:
        """The marketplace or the customer closes: no rule applies."""
        discussion.status = "Closed"
        discussion.closed_at = discussion.updated_at = self._now()

    def reopen(self, discussion: BookedDiscussion) -> None:
        """The seller opens a closed discussion again (REST only)."""
        discussion.status, discussion.closed_at = "Open", None
        discussion.updated_at = self._now()

    def mark(self, discussion: BookedDiscussion, *, treated: bool = True) -> None:
        """Somebody of the shop marks it on the web page, until anybody writes again; that this
        is no change of the discussion (`updated_at`) is our choice."""
        discussion.process_status = "Treated" if treated else "ToTreat"

    # --- relay addresses ---------------------------------------------------------------------

    def relay_for_discussion(self, ident: int) -> tuple[MailStatus, str | None]:
        """What GetDiscussionMailList says of one id; asking renews the lease."""
        discussion = self._discussions.get(ident)
        if discussion is None:
            return MailStatus.UNKNOWN, None
        order = self.orders.get(discussion.order_number)
        if order is not None and self.alias_refused(order):
            return MailStatus.UNKNOWN, None
        relay = self._lease(discussion.order_number, discussion.id)
        return (MailStatus.CLOSED if discussion.closed else MailStatus.SUCCESS), relay.address

    def relay_for_order(self, order: BookedOrder) -> str | None:
        """`EncryptedEmail`, None for orders shipped too long ago; asking renews the lease."""
        return None if self.alias_refused(order) else self._lease(order.number, None).address

    def alias_refused(self, order: BookedOrder) -> bool:
        """True four weeks after the order was shipped: no alias is given any more."""
        return order.shipped_at is not None and self.clock() - order.shipped_at > LEASE

    def relay(self, address: str) -> RelayAddress | None:
        """The address as booked, expired or not; None if it was never given."""
        return self._relays.get(address.lower())

    def relay_works(self, relay: RelayAddress) -> bool:
        """True while mail to the address is taken."""
        return not relay.revoked and self.clock() < relay.expires_at

    def expire_relay(self, address: str) -> None:
        """The address stops working now; the next time it is asked for, a new one is given."""
        self._relays[address.lower()].revoked = True

    def addressees(self, relay: RelayAddress) -> list[BookedDiscussion]:
        """Discussions behind an address, the most recently active last."""
        found = [
            discussion
            for discussion in self._discussions.values()
            if (relay.order_number is not None and discussion.order_number == relay.order_number)
            or discussion.id == relay.discussion_id
        ]
        return sorted(found, key=lambda discussion: (_last_word(discussion), discussion.id))

    def mail_arrives(self, relay: RelayAddress, text: str) -> BookedDiscussion:
        """A seller's mail came through the relay.

        Where several discussions share the address it goes to the one most recently written in
        (our choice). An order without discussion gets an order question that has the order's
        number for subject, which is what seller-opened questions look like.
        """
        behind = self.addressees(relay)
        if behind:
            self.seller_writes(behind[-1], text)
            return behind[-1]
        order = self.orders.get(relay.order_number)
        if order is None:
            raise KeyError(relay.address)
        return self.open_discussion(
            DiscussionKind.ORDER_QUESTION,
            order.number,
            order.customer,
            text,
            order_number=order.number,
            by_seller=True,
        )

    def bounce_arrives(self, relay: RelayAddress, recipient: str) -> BookedMessage | None:
        """The relay could not deliver; its report becomes a message, as integrators have seen."""
        behind = self.addressees(relay)
        if not behind:
            return None
        text = (
            "----- The following addresses had permanent fatal errors -----\n"
            f"<{recipient}>\n(reason: 550 5.1.1 User unknown)"
        )
        return self.robot_writes(behind[-1], text)

    def _lease(self, order_number: str | None, discussion_id: int | None) -> RelayAddress:
        key = (order_number, None) if order_number is not None else (None, discussion_id)
        current = self._current.get(key)
        if current is not None and self.relay_works(current):
            current.expires_at = self.clock() + LEASE
            return current
        address = f"c.{self.rng.getrandbits(128):032x}@{RELAY_DOMAIN}"
        relay = RelayAddress(address, key[0], key[1], self.clock() + LEASE)
        self._relays[address] = self._current[key] = relay
        return relay

    # --- tokens ------------------------------------------------------------------------------

    def issue_token(self, login: str, password: str) -> str | None:
        """A token for 48 hours, None for wrong credentials. Older ones stay valid."""
        if (login, password) != (self.login, self.password):
            return None
        token = f"{self.rng.getrandbits(128):032x}"
        self._tokens[token] = self.clock() + TOKEN_LIFE
        return token

    def token_state(self, token: str) -> TokenState:
        """What a request with this token gets."""
        plain = token.strip().lower()
        if len(plain) != 32 or any(letter not in "0123456789abcdef" for letter in plain):
            return TokenState.MALFORMED
        until = self._tokens.get(plain)
        if until is None:
            return TokenState.UNKNOWN
        return TokenState.VALID if self.clock() < until else TokenState.EXPIRED

    def expire_tokens(self) -> None:
        """Every token issued so far has expired."""
        self._tokens = dict.fromkeys(self._tokens, self.clock())

    # --- inside ------------------------------------------------------------------------------

    def _now(self) -> datetime:
        # The service keeps milliseconds; finer times would never be seen again.
        now = self.clock()
        return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _within(moment: datetime, begin: datetime | None, end: datetime | None) -> bool:
    return (begin is None or begin <= moment) and (end is None or moment <= end)


def _among(value: str | None, wanted: frozenset[str] | None) -> bool:
    return wanted is None or value in wanted


def _last_word(discussion: BookedDiscussion) -> datetime:
    return max((message.at for message in discussion.messages), default=discussion.created_at)
