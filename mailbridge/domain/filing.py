"""The life of one mail on its way into the mailbox (IMAP APPEND).

Theory. APPEND has no idempotency: a mail fully sent whose answer was never read *is* stored
(measured on Dovecot), and repeating it stores it twice. But the mail carries a Message-ID that
only we make, so the mailbox itself is the evidence: after any doubt the folders are searched for
it, and only a mail that is provably absent is written again.

Rules kept here:
1. `writing` is in the journal before the first octet leaves.
2. `writing` is left only by an answer (`stored`, `refused`) or by evidence (`found`, `absent`).
3. `filed` is for ever: a mail an agent deleted afterwards is never filed again.
4. A mail that fails again and again is set aside, and stops nobody else.
"""

from __future__ import annotations

from enum import StrEnum

from mailbridge.domain.machine import Machine

__all__ = ["MACHINE", "FilingEvent", "FilingState"]


class FilingState(StrEnum):
    """Where the mail stands."""

    PLANNED = "planned"
    WRITING = "writing"
    FILED = "filed"
    ASIDE = "aside"
    """Poison: failed too often, waits for an operator's `retry`."""
    DROPPED = "dropped"
    """No longer worth filing (a notice that time has overtaken)."""


class FilingEvent(StrEnum):
    """What can happen to it."""

    BEGIN = "begin"
    STORED = "stored"
    FOUND = "found"
    ABSENT = "absent"
    REFUSED = "refused"
    SET_ASIDE = "set_aside"
    RETRY = "retry"
    DROP = "drop"


_S, _E = FilingState, FilingEvent

MACHINE: Machine[FilingState, FilingEvent] = Machine(
    name="filing",
    start=_S.PLANNED,
    moves={
        _S.PLANNED: {
            _E.BEGIN: _S.WRITING,
            _E.FOUND: _S.FILED,
            _E.SET_ASIDE: _S.ASIDE,
            _E.DROP: _S.DROPPED,
        },
        _S.WRITING: {
            _E.STORED: _S.FILED,
            _E.FOUND: _S.FILED,
            _E.ABSENT: _S.PLANNED,
            _E.REFUSED: _S.PLANNED,
        },
        _S.ASIDE: {_E.RETRY: _S.PLANNED, _E.FOUND: _S.FILED},
        _S.FILED: {},
        _S.DROPPED: {},
    },
)
