"""The life of one close: the last step of a reply, never a side effect of sending it.

Theory. The marketplace closes only what the seller has answered, and by "answered" it means
recorded on its side. So a close waits for its reply to be recorded, looks at the discussion once
more, and asks. Asking is safe to repeat (`AlreadyClosed`), so a lost answer needs no evidence:
the close is simply asked again.

Rules kept here:
1. A customer message that was not filed when the reply was picked up overtakes the close:
   a person must read it first. Clocks are not compared.
2. "Last answer not ours" with a dispatch of ours still unrecorded is a matter of time; without
   one it is a person's.
3. What an agent undid stays undone, until somebody asks anew.
"""

from __future__ import annotations

from enum import StrEnum

from mailbridge.domain.machine import Machine

__all__ = ["MACHINE", "SETTLED", "ClosingEvent", "ClosingState"]


class ClosingState(StrEnum):
    """Where the close stands."""

    WAITING = "waiting"
    """For the reply to be recorded."""
    READY = "ready"
    ASKING = "asking"
    CLOSED = "closed"
    OVERTAKEN = "overtaken"
    WITHDRAWN = "withdrawn"
    REFUSED = "refused"


class ClosingEvent(StrEnum):
    """What can happen to it."""

    PROCEED = "proceed"
    BEGIN = "begin"
    CONFIRMED = "confirmed"
    LATER = "later"
    REFUSE = "refuse"
    CUSTOMER_WROTE = "customer_wrote"
    WITHDRAW = "withdraw"
    RETRY = "retry"


_S, _E = ClosingState, ClosingEvent

MACHINE: Machine[ClosingState, ClosingEvent] = Machine(
    name="closing",
    start=_S.WAITING,
    moves={
        _S.WAITING: {
            _E.PROCEED: _S.READY,
            _E.WITHDRAW: _S.WITHDRAWN,
            _E.CUSTOMER_WROTE: _S.OVERTAKEN,
        },
        _S.READY: {
            _E.BEGIN: _S.ASKING,
            _E.CONFIRMED: _S.CLOSED,
            _E.WITHDRAW: _S.WITHDRAWN,
            _E.CUSTOMER_WROTE: _S.OVERTAKEN,
            _E.REFUSE: _S.REFUSED,
        },
        _S.ASKING: {_E.CONFIRMED: _S.CLOSED, _E.LATER: _S.READY, _E.REFUSE: _S.REFUSED},
        _S.REFUSED: {_E.RETRY: _S.READY, _E.WITHDRAW: _S.WITHDRAWN},
        _S.CLOSED: {},
        _S.OVERTAKEN: {},
        _S.WITHDRAWN: {},
    },
)

SETTLED = frozenset({_S.CLOSED, _S.OVERTAKEN, _S.WITHDRAWN, _S.REFUSED})
"""States that a receipt does not wait for."""
