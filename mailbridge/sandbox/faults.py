"""What may go wrong on the marketplace's side, as values that a test queues.

Each fault says whether the operation's effect was done: that is the question the daemon has to
answer for itself. Which operation is hit, and how often, is a rule of the `FaultPlan`; how a
fault is carried out on the socket is `cdiscount`'s business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from lxml import etree

from mailbridge.sandbox.wire import CD, XSI

__all__ = [
    "GET_TOKEN",
    "AnswerLost",
    "EmptyFailure",
    "ExtraElement",
    "Fault",
    "FaultPlan",
    "Hang",
    "HtmlError",
    "HtmlPage",
    "InternalError",
    "NilLists",
    "NotAuthorized",
    "RawAnswer",
    "Refusal",
    "ResetBefore",
    "Rewrite",
    "SlowDrip",
    "Throttled",
    "TokenFault",
    "Truncated",
    "UnknownValue",
]

GET_TOKEN = "GetToken"  # noqa: S105 - the name of the token endpoint in fault rules

_NIL = f"{{{XSI}}}nil"


@dataclass(frozen=True, slots=True)
class TokenFault:
    """HTTP 500 `RequestTokenValidationError` (REST: 401); a new token helps. Nothing done.

    `text` other than the default: "Token … has expired" was seen in integrators' handlers.
    """

    text: str = "Your token does not exist, please renew your token id."

    @classmethod
    def expired(cls) -> TokenFault:
        """The other wording."""
        return cls("Your token has expired, please renew your token id.")


@dataclass(frozen=True, slots=True)
class NotAuthorized:
    """The same fault code, but no token helps, and the text echoes ours as a dashed UUID.

    REST: 403.
    """


@dataclass(frozen=True, slots=True)
class InternalError:
    """HTTP 500 `InternalServiceFault`: a bug of the service. Nothing done."""


@dataclass(frozen=True, slots=True)
class HtmlError:
    """A proxy's HTML page with an error status. `after`: the effect was done before."""

    status: int = 502
    after: bool = False
    retry_after: int | str | None = None


@dataclass(frozen=True, slots=True)
class Throttled:
    """HTTP 429, in the service's own words where it has any. Nothing done.

    `retry_after`: seconds, or an HTTP date.
    """

    retry_after: int | str | None = 30


@dataclass(frozen=True, slots=True)
class HtmlPage:
    """HTTP 200 with the bot guard's HTML page instead of XML. Nothing done."""


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """Any answer at all. Nothing done."""

    body: bytes
    status: int = 200
    content_type: str = "text/xml; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Truncated:
    """The XML ends too early though the transfer looks complete. The effect was done."""

    fraction: float = 0.6


@dataclass(frozen=True, slots=True)
class Hang:
    """No answer for `seconds`, then the usual one. `after`: the effect is done at once."""

    seconds: float
    after: bool = False


@dataclass(frozen=True, slots=True)
class ResetBefore:
    """The connection is reset when the request has been read. Nothing done."""


@dataclass(frozen=True, slots=True)
class AnswerLost:
    """The connection is reset after the effect was done."""


@dataclass(frozen=True, slots=True)
class SlowDrip:
    """The usual answer, `chunk` bytes at a time with `pause` seconds between. Effect done."""

    chunk: int = 40
    pause: float = 0.05


@dataclass(frozen=True, slots=True)
class EmptyFailure:
    """OperationSuccess=false, no message, empty ErrorList. Nothing done."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """OperationSuccess=false with words and an ErrorType. Nothing done."""

    message: str = "Vendeur désactivé"
    error_type: str = "InactiveSellerError"


@dataclass(frozen=True, slots=True)
class UnknownValue:
    """Elements of this name carry a value nobody has heard of. Effect done."""

    element: str
    value: str = "ValeurDeDemain"

    def alter(self, envelope: etree._Element) -> None:
        """Change the answer."""
        for found in envelope.iter(f"{{*}}{self.element}"):
            found.text = self.value
            found.attrib.pop(_NIL, None)


@dataclass(frozen=True, slots=True)
class ExtraElement:
    """Every element named `parent` gets a child that is in no schema. Effect done."""

    parent: str
    name: str = "NouveauChamp"
    text: str = "42"

    def alter(self, envelope: etree._Element) -> None:
        """Change the answer."""
        for found in list(envelope.iter(f"{{*}}{self.parent}")):
            child = etree.Element(f"{{{CD}}}{self.name}")
            child.text = self.text
            found.insert(len(found) // 2, child)


@dataclass(frozen=True, slots=True)
class NilLists:
    """Every list in the answer, also `Messages`, is nil instead of empty or full. Effect done."""

    def alter(self, envelope: etree._Element) -> None:
        """Change the answer."""
        for found in list(envelope.iter("{*}*")):
            name = etree.QName(found).localname
            if name == "Messages" or (name.endswith("List") and name != "ErrorList"):
                for child in list(found):
                    found.remove(child)
                found.text = None
                found.set(_NIL, "true")


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Bytes of the usual answer replaced by others: bad dates, twins, control characters."""

    old: bytes
    new: bytes


Alteration = UnknownValue | ExtraElement | NilLists
Fault = (
    TokenFault
    | NotAuthorized
    | InternalError
    | HtmlError
    | Throttled
    | HtmlPage
    | RawAnswer
    | Truncated
    | Hang
    | ResetBefore
    | AnswerLost
    | SlowDrip
    | EmptyFailure
    | Refusal
    | UnknownValue
    | ExtraElement
    | NilLists
    | Rewrite
)


@dataclass(slots=True)
class _Rule:
    fault: Fault
    operations: frozenset[str]
    left: int | None
    skip: int
    chance: float
    when: Callable[[], bool] | None


class FaultPlan:
    """Which calls go wrong. Rules are looked at in the order they were given; one hits a call."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._rules: list[_Rule] = []

    def once(self, fault: Fault, *operations: str, times: int = 1, skip: int = 0) -> None:
        """Hit the next `times` calls of these operations (none named: of any), after leaving out
        `skip`."""
        self._rules.append(_Rule(fault, frozenset(operations), times, skip, 1.0, None))

    def always(
        self,
        fault: Fault,
        *operations: str,
        chance: float = 1.0,
        when: Callable[[], bool] | None = None,
    ) -> None:
        """Hit every call of these operations (none named: of any; or a share `chance` of them,
        while `when` says so) until `clear`."""
        self._rules.append(_Rule(fault, frozenset(operations), None, 0, chance, when))

    def clear(self) -> None:
        """All is well again."""
        self._rules.clear()

    @property
    def pending(self) -> int:
        """Queued faults that have not hit yet; a test may check that all did."""
        return sum(rule.left for rule in self._rules if rule.left is not None)

    def take(self, operation: str) -> Fault | None:
        """The fault for this call, if any; uses it up."""
        for rule in self._rules:
            if rule.operations and operation not in rule.operations:
                continue
            if rule.when is not None and not rule.when():
                continue
            if rule.skip:
                rule.skip -= 1
                continue
            if rule.chance < 1.0 and self._rng.random() >= rule.chance:
                continue
            if rule.left is not None:
                rule.left -= 1
                if rule.left == 0:
                    self._rules.remove(rule)
            return rule.fault
        return None
