"""The life of one staff reply from the moment a copy of it is seen until all it asked is settled.

Theory. One reply may show up as several copies (inbox, Sent, a second Sent), in any order, some
of them changed on the way. The copies are gathered under one key; as soon as their evidence
proves staff, or once waiting for a better copy makes no more sense, it is judged once.

Rules kept here:
1. A reply is judged once. A copy that turns up later joins it and changes nothing, except that
   one which proves staff releases a hold for want of proof.
2. Held is not lost: `release` sends it as it stood, `replace` gives way to a newer one.
3. `ignored` is for automatic mail: it is recorded so that it is not judged again, never obeyed.
"""

from __future__ import annotations

from enum import StrEnum

from mailbridge.domain.machine import Machine

__all__ = ["MACHINE", "IntakeEvent", "IntakeState"]


class IntakeState(StrEnum):
    """Where the reply stands."""

    GATHERING = "gathering"
    HELD = "held"
    ACCEPTED = "accepted"
    """Its dispatch, close and so on are under way."""
    SETTLED = "settled"
    REPLACED = "replaced"
    CANCELLED = "cancelled"
    IGNORED = "ignored"


class IntakeEvent(StrEnum):
    """What can happen to it."""

    ACCEPT = "accept"
    HOLD = "hold"
    RELEASE = "release"
    REPLACE = "replace"
    CANCEL = "cancel"
    IGNORE = "ignore"
    SETTLE = "settle"


_S, _E = IntakeState, IntakeEvent

MACHINE: Machine[IntakeState, IntakeEvent] = Machine(
    name="intake",
    start=_S.GATHERING,
    moves={
        _S.GATHERING: {
            _E.ACCEPT: _S.ACCEPTED,
            _E.HOLD: _S.HELD,
            _E.IGNORE: _S.IGNORED,
            _E.SETTLE: _S.SETTLED,
        },
        _S.HELD: {
            _E.RELEASE: _S.ACCEPTED,
            _E.REPLACE: _S.REPLACED,
            _E.CANCEL: _S.CANCELLED,
            _E.SETTLE: _S.SETTLED,
        },
        _S.ACCEPTED: {_E.SETTLE: _S.SETTLED},
        _S.SETTLED: {},
        _S.REPLACED: {},
        _S.CANCELLED: {},
        _S.IGNORED: {},
    },
)
