"""Whether a customer's words get an automatic acknowledgement: the rules, in their order.

An acknowledgement is a courtesy. One that is missing costs nothing; one too many, one that comes
late, crosses a person's answer or answers a robot makes a shop look foolish. So every rule says
no, and whatever none of them forbids is acknowledged.

Rules kept here:
1. Once for each discussion (a primary key of the journal sees to that), about its first words:
   where somebody of the shop has spoken, or is about to, where we wrote first, or where other
   things were said before, there is none.
2. Nothing late: what was old when it was first seen here (an outage, a back-fill, a first run, a
   lost journal, a move to another API) is never acknowledged, nor is it once time has passed.
3. No loops: only a customer's words, and none that look as if a machine wrote them (RFC 3834
   section 2); and only so many a day for one order or one customer's name.
4. It says that the message has arrived: so the message lies in the mailbox first.

The same question is asked when an acknowledgement is planned and again when it is about to leave.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from mailbridge.domain.delivery import DeliveryState
from mailbridge.domain.discussion import AuthorKind, DiscussionKind, Status
from mailbridge.domain.notice import HoldReason
from mailbridge.domain.wording import fold_line
from mailbridge.domain.workdays import WorkingCalendar

__all__ = [
    "PASSING",
    "Case",
    "Failure",
    "Rules",
    "Said",
    "WhyNot",
    "failure",
    "looks_automatic",
    "why_not",
]

_A_DAY = 1
"""How many a day are sent about one order, and to customers of one name."""

_LOOKED_AT = 2_000
"""Characters of a text that are looked at for signs of a machine."""

_OPENS = re.compile(
    r"\W*(?:(?:re|tr|fw|fwd|objet|subject) ?: ?)*(?:"
    r"reponse automatique|message automatique|automatic (?:reply|response|message)|auto[- ]?reply"
    r"|message d'absence|absence du bureau|je suis (?:actuellement )?(?:absent|en conges)"
    r"|out of (?:the )?office|i am (?:currently )?(?:out of|away from) (?:the )?office"
    r"|accuse de reception|automatische antwort|abwesenheit)"
)
"""How absence messages and other automatic answers begin."""

_TELLS = re.compile(
    r"ceci est un (?:message|e-?mail|mail|courriel) (?:envoye )?automatique"
    r"|cet? (?:message|e-?mail|mail|courriel) (?:est|a ete) (?:genere|envoye) automatiquement"
    r"|(?:merci de )?ne pas repondre a (?:ce|cet) (?:message|e-?mail|mail|courriel)"
    r"|this is an automat(?:ic|ed) (?:message|reply|response|e-?mail)"
    r"|(?:do not|don't) reply to this (?:message|e-?mail)"
    r"|permanent fatal errors|delivery status notification|undelivered mail returned to sender"
    r"|this is a warning (?:message )?only|mail delivery (?:failed|failure|subsystem)"
)
"""What such messages, and reports of mail systems, say of themselves anywhere."""

_PLAIN = str.maketrans("àâäçéèêëîïôöùûüÿ’", "aaaceeeeiioouuuy'")


class WhyNot(StrEnum):
    """What speaks against an acknowledgement; none of these but `PASSING` ever passes."""

    NOT_OPEN = "not_open"
    """The discussion is closed, or nobody knows whether it is open."""
    KIND = "kind"
    """The shop does not acknowledge discussions of this kind."""
    WE_BEGAN = "we_began"
    """The shop wrote first about this order."""
    ANSWERED = "answered"
    """Somebody of the shop has answered, or is about to."""
    NOT_BY_CUSTOMER = "not_by_customer"
    """No customer has spoken, or another person after them."""
    LATE = "late"
    """Something in the discussion is old, or was there before the journal."""
    AUTOMATIC = "automatic"
    """The customer's words look like a machine's."""
    AT_WORK = "at_work"
    """It was written in working hours, when somebody answers soon."""
    ENOUGH = "enough"
    """This order, or this customer's name, has had one today."""
    NOT_FILED = "not_filed"
    """The words are not in the mailbox yet."""


class Failure(StrEnum):
    """What became of one that went wrong; it is not tried again."""

    REFUSED = "refused"
    """Not sent: refused, or there is no way to the customer."""
    UNREACHABLE = "unreachable"
    """Not sent: it could not be handed over while it was still worth sending."""
    UNSURE = "unsure"
    """Nobody knows whether it arrived."""
    UNRECORDED = "unrecorded"
    """Handed over, and the marketplace does not show it."""
    BOUNCED = "bounced"
    """It came back."""


def failure(reason: HoldReason, state: DeliveryState) -> Failure | None:
    """How a trouble of its dispatch is told; None for one that may pass by itself."""
    match reason:
        case HoldReason.SUBMISSION_DELAYED | HoldReason.SUBMISSION_UNCERTAIN:
            return None
        case HoldReason.SUBMISSION_GAVE_UP:
            return Failure.UNREACHABLE
        case HoldReason.UNRECORDED:
            return Failure.UNSURE if state is DeliveryState.UNCERTAIN else Failure.UNRECORDED
        case HoldReason.BOUNCED:
            return Failure.BOUNCED
        case _:
            return Failure.REFUSED


PASSING = frozenset({WhyNot.NOT_FILED})
"""What may be otherwise a moment later."""


@dataclass(frozen=True, slots=True)
class Said:
    """One message of the discussion."""

    author: AuthorKind
    at: datetime
    """By the marketplace's clock; aware."""
    text: str = ""
    past: bool = False
    """It came with a back-fill, a first run, or out of the mailbox of an earlier journal."""
    filed: bool = True
    """It lies in the mailbox, where staff can read it."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is known of one discussion."""

    kind: DiscussionKind
    status: Status
    said: Sequence[Said]
    """Without acknowledgements."""
    we_began: bool = False
    being_answered: bool = False
    """A reply of staff is read, held or on its way."""
    today: int = 0
    """Others within a day, about the same order or for a customer of the same name."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the shop wants acknowledged."""

    kinds: frozenset[DiscussionKind]
    max_age: timedelta
    """Of the customer's words when the acknowledgement leaves."""
    calendar: WorkingCalendar
    only_outside_hours: bool = False


def why_not(case: Case, rules: Rules, now: datetime) -> WhyNot | None:
    """The first rule against an acknowledgement; None: it may leave now."""
    people = [said for said in case.said if said.author is not AuthorKind.AUTOMATIC]
    customer = [said for said in people if said.author is AuthorKind.CUSTOMER]
    shop = any(said.author is AuthorKind.SELLER for said in people)
    oldest = now - rules.max_age
    if case.status is not Status.OPEN:
        return WhyNot.NOT_OPEN
    if case.kind not in rules.kinds:
        return WhyNot.KIND
    if case.we_began:
        return WhyNot.WE_BEGAN
    if shop or case.being_answered:
        return WhyNot.ANSWERED
    if not customer or max(people, key=lambda said: said.at) not in customer:
        return WhyNot.NOT_BY_CUSTOMER
    if any(said.past for said in case.said) or any(said.at < oldest for said in people):
        return WhyNot.LATE
    if any(looks_automatic(said.text) for said in customer):
        return WhyNot.AUTOMATIC
    if rules.only_outside_hours and rules.calendar.works_at(max(said.at for said in customer)):
        return WhyNot.AT_WORK
    if case.today >= _A_DAY:
        return WhyNot.ENOUGH
    if not all(said.filed for said in customer):
        return WhyNot.NOT_FILED
    return None


def looks_automatic(text: str) -> bool:
    """Whether a customer's text reads like an absence message, or a mail system's report.

    The marketplace passes on the words and none of the header that would say so for sure.
    """
    flat = fold_line(text[:_LOOKED_AT]).casefold().translate(_PLAIN)
    return bool(_OPENS.match(flat) or _TELLS.search(flat))
