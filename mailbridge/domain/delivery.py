"""The life of one dispatch: a reply on its way to the customer.

Theory. SMTP is at-least-once with a gap nobody can close: between the final dot and its answer
the server may or may not have taken the mail (RFC 5321 4.5.3.2.6, RFC 1047). MTAs repeat and
customers get two answers; we do not. What may have happened is a state of its own, `uncertain`,
and it is left by evidence only: the discussion shows the text (`recorded`), the provider filed
the mail in Sent (`accepted`), a bounce names it (`bounced`), or a person decides (`resend`).
An API that records by itself uses the same states.

Rules kept here:
1. `submitting` is in the journal before the connection is used; found there after a crash it
   becomes `uncertain`, never `planned`.
2. Out of `submitting` only `deferred` (surely not sent) leads back to `planned`; what bounced
   goes again once its address is renewed, what is held once a person releases it.
3. `recorded` is the only proof of delivery, and may come from any state in which the mail may
   have left, late as it may be.
4. A resend is a dispatch of its own; the old one ends as `resent`.
"""

from __future__ import annotations

from enum import StrEnum

from mailbridge.domain.machine import Machine

__all__ = ["MACHINE", "MAY_HAVE_LEFT", "SETTLED", "DeliveryEvent", "DeliveryState"]


class DeliveryState(StrEnum):
    """Where the dispatch stands."""

    PLANNED = "planned"
    SUBMITTING = "submitting"
    SUBMITTED = "submitted"
    UNCERTAIN = "uncertain"
    BOUNCED = "bounced"
    HELD = "held"
    RECORDED = "recorded"
    RESENT = "resent"
    CANCELLED = "cancelled"


class DeliveryEvent(StrEnum):
    """What can happen to it."""

    BEGIN = "begin"
    ACCEPTED = "accepted"
    DEFERRED = "deferred"
    REFUSED = "refused"
    LOST = "lost"
    SEEN = "seen"
    BOUNCE = "bounce"
    RENEW = "renew"
    HOLD = "hold"
    RELEASE = "release"
    RESEND = "resend"
    CANCEL = "cancel"


_S, _E = DeliveryState, DeliveryEvent

MACHINE: Machine[DeliveryState, DeliveryEvent] = Machine(
    name="delivery",
    start=_S.PLANNED,
    moves={
        _S.PLANNED: {_E.BEGIN: _S.SUBMITTING, _E.HOLD: _S.HELD, _E.CANCEL: _S.CANCELLED},
        _S.SUBMITTING: {
            _E.ACCEPTED: _S.SUBMITTED,
            _E.DEFERRED: _S.PLANNED,
            _E.REFUSED: _S.HELD,
            _E.LOST: _S.UNCERTAIN,
            _E.SEEN: _S.RECORDED,
        },
        _S.SUBMITTED: {_E.SEEN: _S.RECORDED, _E.BOUNCE: _S.BOUNCED, _E.RESEND: _S.RESENT},
        _S.UNCERTAIN: {
            _E.SEEN: _S.RECORDED,
            _E.ACCEPTED: _S.SUBMITTED,
            _E.BOUNCE: _S.BOUNCED,
            _E.RESEND: _S.RESENT,
        },
        _S.BOUNCED: {_E.RENEW: _S.PLANNED, _E.HOLD: _S.HELD, _E.SEEN: _S.RECORDED},
        _S.HELD: {
            _E.RELEASE: _S.PLANNED,
            _E.CANCEL: _S.CANCELLED,
            _E.SEEN: _S.RECORDED,
            _E.RESEND: _S.RESENT,
        },
        _S.RESENT: {_E.SEEN: _S.RECORDED},
        _S.RECORDED: {},
        _S.CANCELLED: {},
    },
)

MAY_HAVE_LEFT = frozenset(state for state, moves in MACHINE.moves.items() if _E.SEEN in moves)
"""States in which a message of the discussion may turn out to be this dispatch."""

SETTLED = frozenset({_S.RECORDED, _S.RESENT, _S.CANCELLED})
"""States that a receipt does not wait for."""
