"""The life of one movement of money: a refund, a cancellation or a gesture.

Theory. The service has no idempotency key: asked twice, it pays twice. And its yes is not yet
the money, nor is silence a no. So a movement is asked for once; what may have happened is a state
of its own, left only by evidence from the order itself; and where the evidence says "never
happened", only a person's word asks again. Nobody moves money who has not seen in words what
will be done (`waiting`), unless the shop set a limit below which that is not asked.

Rules kept here:
1. `asking` is in the journal before the call is made; found there after a crash it becomes
   `uncertain`.
2. Out of `asking` only `put_off` (surely not sent) leads back to `ready`.
3. `proven` means that the order, read afresh, shows it. `granted` is the service's word only.
4. "Never happened" needs two readings, far enough apart: vouchers were seen to appear late.
5. Two people who ask for the same get one movement: the second is `joined` to the first.
6. What was asked for through an API the account has moved away from since is proven by the same
   evidence, and never held to be refused or absent: nobody says that one API shows all that the
   other did, and a request that it shows refused may be somebody else's. After a day of that a
   person who has looked elsewhere is asked, and their word settles it, either way: what they say
   was paid is proven, what they say was not is absent.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from mailbridge.domain.machine import Machine
from mailbridge.domain.money import MovementKind
from mailbridge.domain.order import LineStage, MoneyRequest, Order, RequestState

__all__ = [
    "ACTIVE",
    "HOLDS_CLAIM",
    "MACHINE",
    "SETTLED",
    "Evidence",
    "Proof",
    "RefundEvent",
    "RefundState",
    "Sought",
    "as_told_here",
    "evidence",
]


class RefundState(StrEnum):
    """Where the movement stands."""

    ASKED = "asked"
    """By a person; the order has not been read for it yet."""
    WAITING = "waiting"
    """For a person to confirm what will be done."""
    READY = "ready"
    ASKING = "asking"
    GRANTED = "granted"
    UNCERTAIN = "uncertain"
    PROVEN = "proven"
    PARTLY = "partly"
    """Some lines were given back, others refused."""
    REFUSED = "refused"
    """Nothing moved: impossible, or refused by the service."""
    ABSENT = "absent"
    """It may have been asked for, and two readings, or a person who has looked, say that nothing
    moved."""
    WITHDRAWN = "withdrawn"
    JOINED = "joined"


class RefundEvent(StrEnum):
    """What can happen to it."""

    PLAN = "plan"
    PASS = "pass"  # noqa: S105 - no password: below the shop's limit
    CONFIRM = "confirm"
    REPLAN = "replan"
    JOIN = "join"
    BEGIN = "begin"
    GRANT = "grant"
    REFUSE = "refuse"
    PUT_OFF = "put_off"
    LOST = "lost"
    PROVE = "prove"
    PROVE_PART = "prove_part"
    MISS = "miss"
    AFFIRM = "affirm"
    DENY = "deny"
    WITHDRAW = "withdraw"
    RETRY = "retry"


_S, _E = RefundState, RefundEvent

MACHINE: Machine[RefundState, RefundEvent] = Machine(
    name="refund",
    start=_S.ASKED,
    moves={
        _S.ASKED: {
            _E.PLAN: _S.WAITING,
            _E.PASS: _S.READY,
            _E.JOIN: _S.JOINED,
            _E.REFUSE: _S.REFUSED,
            _E.WITHDRAW: _S.WITHDRAWN,
        },
        _S.WAITING: {
            _E.CONFIRM: _S.READY,
            _E.JOIN: _S.JOINED,
            _E.REFUSE: _S.REFUSED,
            _E.WITHDRAW: _S.WITHDRAWN,
        },
        _S.READY: {
            _E.BEGIN: _S.ASKING,
            _E.REPLAN: _S.WAITING,
            _E.JOIN: _S.JOINED,
            _E.REFUSE: _S.REFUSED,
            _E.WITHDRAW: _S.WITHDRAWN,
        },
        _S.ASKING: {
            _E.GRANT: _S.GRANTED,
            _E.REFUSE: _S.REFUSED,
            _E.PUT_OFF: _S.READY,
            _E.LOST: _S.UNCERTAIN,
        },
        _S.GRANTED: {
            _E.PROVE: _S.PROVEN,
            _E.PROVE_PART: _S.PARTLY,
            _E.REFUSE: _S.REFUSED,
            _E.AFFIRM: _S.PROVEN,
            _E.DENY: _S.ABSENT,
        },
        _S.UNCERTAIN: {
            _E.PROVE: _S.PROVEN,
            _E.PROVE_PART: _S.PARTLY,
            _E.REFUSE: _S.REFUSED,
            _E.MISS: _S.ABSENT,
            _E.AFFIRM: _S.PROVEN,
            _E.DENY: _S.ABSENT,
        },
        _S.ABSENT: {
            _E.RETRY: _S.ASKED,
            _E.PROVE: _S.PROVEN,
            _E.PROVE_PART: _S.PARTLY,
            _E.WITHDRAW: _S.WITHDRAWN,
        },
        _S.JOINED: {_E.PROVE: _S.PROVEN, _E.PROVE_PART: _S.PARTLY, _E.REFUSE: _S.REFUSED},
        _S.PROVEN: {},
        _S.PARTLY: {},
        _S.REFUSED: {},
        _S.WITHDRAWN: {},
    },
)

SETTLED = frozenset({_S.PROVEN, _S.PARTLY, _S.REFUSED, _S.ABSENT, _S.WITHDRAWN})
"""States that a receipt does not wait for."""

HOLDS_CLAIM = frozenset({_S.READY, _S.ASKING, _S.GRANTED, _S.UNCERTAIN, _S.PROVEN, _S.PARTLY})
"""States in which its lines and its amount count as spent."""

ACTIVE = frozenset({_S.ASKING, _S.GRANTED, _S.UNCERTAIN})
"""States in which no other movement of the same order begins: its evidence would be theirs."""


class Proof(StrEnum):
    """What the order, read afresh, says about a movement."""

    SHOWN = "shown"
    PART = "part"
    """Some of its lines are given back, and nothing is known to be under way for the others."""
    PENDING = "pending"
    """The marketplace works on it."""
    REFUSED = "refused"
    """The marketplace shows that it refused the request."""
    NOT_SHOWN = "not_shown"


@dataclass(frozen=True, slots=True)
class Sought:
    """What evidence is looked for."""

    kind: MovementKind
    lines: Collection[str] = ()
    """References of the lines that were not refused in the call's answer."""
    amount: Decimal = Decimal(0)
    motive: int | None = None
    requests: Collection[str] = ()
    """Ids of the requests that the call's answer named."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The proof, and in whose words a refusal came."""

    proof: Proof
    shown: frozenset[str] = frozenset()
    """References of the lines that are given back now."""
    words: str = ""
    ended: bool = False
    """Part: the marketplace has ended every request, so nothing more will come."""


_SKEW = timedelta(minutes=15)
"""How far the marketplace's clock may be behind ours."""

_BACK: Mapping[MovementKind, frozenset[LineStage]] = {
    MovementKind.CANCELLATION: frozenset({LineStage.CANCELLED, LineStage.REFUNDED}),
    MovementKind.REFUND: frozenset({LineStage.REFUNDED}),
}


_NOT_TOLD = dict.fromkeys(_BACK, ("",))
"""A request may not say whether it is a refund or a cancellation; a gesture always does."""


def evidence(sought: Sought, before: Order, now: Order) -> Evidence:
    """Whether `now` shows what `before`, read just before the call, did not.

    One movement of an order is under way at a time, so whatever is new in between is its own.
    """
    requests = _requests(sought, before, now)
    if sought.kind is MovementKind.GESTURE:
        if _more_vouchers(sought, before, now):
            return Evidence(Proof.SHOWN)
        told = _by_requests(requests)
        # Several of this amount, one of them carried out: the money has moved once.
        return Evidence(Proof.SHOWN, words=told.words) if told.proof is Proof.PART else told
    back = _BACK[sought.kind]
    shown = frozenset(
        line.reference
        for line in now.lines
        if line.reference in sought.lines and line.stage in back
    )
    if shown.issuperset(sought.lines):
        return Evidence(Proof.SHOWN, shown)
    told = _by_requests(requests)
    shown |= _done(requests, sought, now)
    if shown.issuperset(sought.lines):
        return Evidence(Proof.SHOWN, shown, told.words)
    match told.proof:
        case Proof.PENDING:
            return Evidence(Proof.PENDING, shown, told.words)
        case Proof.PART if not shown:
            # One request did it and another did not, and neither says for which lines.
            return Evidence(Proof.PENDING, words=told.words)
        case Proof.PART | Proof.REFUSED if shown:
            return Evidence(Proof.PART, shown, told.words, ended=True)
        case Proof.SHOWN | Proof.NOT_SHOWN:
            return Evidence(Proof.PART if shown else Proof.NOT_SHOWN, shown, told.words)
    return told


def as_told_here(before: Order, now: Order, asked_at: datetime) -> Order:
    """`before`, read through a former API, as the one that read `now` would have told it.

    Two APIs tell vouchers and requests each in its own words, so those of one can't be counted
    against those of the other. What existed before the movement was asked for is taken from
    `now`, by its date; what has no date is held to be old, and proves nothing.
    """

    def old(created_at: datetime | None) -> bool:
        return created_at is None or created_at < asked_at - _SKEW

    return replace(
        before,
        vouchers=tuple(v for v in now.vouchers or () if old(v.created_at)),
        requests=tuple(r for r in now.requests if old(r.created_at)),
    )


def _more_vouchers(sought: Sought, before: Order, now: Order) -> bool:
    def count(order: Order) -> int:
        given = order.vouchers or ()
        return sum(v.amount == sought.amount and v.motive == sought.motive for v in given)

    return count(now) > count(before)


def _requests(sought: Sought, before: Order, now: Order) -> Sequence[MoneyRequest]:
    """The requests that are this movement's: named by the answer, else new and of its kind."""
    if sought.requests:
        return [r for r in now.requests if r.id in sought.requests]
    old = {r.id for r in before.requests}
    return [
        r
        for r in now.requests
        if r.id not in old
        and r.kind in {sought.kind, *_NOT_TOLD.get(sought.kind, ())}
        and (
            r.amount == sought.amount
            if sought.kind is MovementKind.GESTURE
            else not r.lines or bool(_ids(now, sought.lines) & set(r.lines))
        )
    ]


def _ids(order: Order, references: Collection[str]) -> set[str]:
    return {line.id for line in order.lines if line.reference in references and line.id}


def _done(requests: Sequence[MoneyRequest], sought: Sought, now: Order) -> frozenset[str]:
    """References of the lines whose request was carried out; one that names none is for all."""
    done = [r for r in requests if r.state is RequestState.DONE]
    if all(r.state is RequestState.DONE for r in requests) and any(not r.lines for r in done):
        return frozenset(sought.lines)
    ids = {line for r in done for line in r.lines}
    return frozenset(
        line.reference for line in now.lines if line.reference in sought.lines and line.id in ids
    )


def _by_requests(requests: Sequence[MoneyRequest]) -> Evidence:
    states = {r.state for r in requests}
    if not states:
        return Evidence(Proof.NOT_SHOWN)
    words = next((r.words for r in requests if r.words), "")
    if states == {RequestState.DONE}:
        return Evidence(Proof.SHOWN, words=words)
    if states == {RequestState.REFUSED}:
        return Evidence(Proof.REFUSED, words=words)
    if RequestState.PENDING in states or RequestState.UNKNOWN in states:
        return Evidence(Proof.PENDING, words=words)
    return Evidence(Proof.PART, words=words)
