"""Questions on which the sources about the API contradict each other, and what answers them.

The rule: each question has the answer the newer page gives as its default. Where a request with
it is refused with a 400 that names the field in question, nothing was done, so the same request
is made once more the other way; if that succeeds the other way is kept for good. Silence, a 5xx
or a success never change anything. An answer the operator has configured is never changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import TypeVar

import structlog

from mailbridge.marketplace.octopia.errors import ProblemError

__all__ = ["AUTO", "CHOICES", "Question", "Variants"]

AUTO = "auto"

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Question(StrEnum):
    """What is asked; the word is the configuration's."""

    REPLY = "reply"
    """Whom a message goes to: `receiver` with a word, or `receivers` with a list."""
    PATCH = "patch"
    """The key of a change: `opt` with a value as text, or `op` as RFC 6902 has it."""
    ORDER_KEY = "order_key"
    """What the order is called in a request to cancel it."""
    SHIPPING = "shipping"
    """Where a request to cancel lines says that shipping is refunded: each `line`, or once."""


CHOICES: Mapping[Question, tuple[str, str]] = {
    Question.REPLY: ("receiver", "receivers"),
    Question.PATCH: ("opt", "op"),
    Question.ORDER_KEY: ("orderSellerId", "orderId"),
    Question.SHIPPING: ("line", "order"),
}
"""The default first."""

_FIELDS: Mapping[Question, frozenset[str]] = {
    Question.REPLY: frozenset({"receiver", "receivers"}),
    Question.PATCH: frozenset({"op", "opt"}),
    Question.ORDER_KEY: frozenset({"orderSellerId", "orderId"}),
    Question.SHIPPING: frozenset({"shippingCostRefund"}),
}


class Variants:
    """What is taken for true about one account's service."""

    def __init__(
        self,
        configured: Mapping[str, str],
        learnt: Mapping[str, str],
        on_variant: Callable[[str, str], None] | None,
    ) -> None:
        """`configured` and `learnt` map a question's word to one of its choices; unknown words
        count as `auto`. `on_variant` is told (question, choice) of what is learnt."""
        self._fixed: set[Question] = set()
        self._proven: set[Question] = set()
        self._told: list[str] = []
        self._on_variant = on_variant
        self._now: dict[Question, str] = {}
        for question, choices in CHOICES.items():
            if configured.get(question) in choices:
                self._fixed.add(question)
                self._now[question] = configured[question]
            else:
                said = learnt.get(question, "")
                self._now[question] = said if said in choices else choices[0]

    def __getitem__(self, question: Question) -> str:
        return self._now[question]

    def __str__(self) -> str:
        return ", ".join(f"{question}={choice}" for question, choice in self._now.items())

    @property
    def learnt(self) -> dict[str, str]:
        """Answers that are not the defaults: to be handed in again after a restart."""
        return {
            str(question): choice
            for question, choice in self._now.items()
            if choice != CHOICES[question][0] and question not in self._fixed
        }

    @property
    def changes(self) -> tuple[str, ...]:
        """What was learnt by this object, in words for the operator."""
        return tuple(self._told)

    def is_proven(self, question: Question) -> bool:
        """Whether the answer is configured, or was seen to have the effect it should."""
        return question in self._fixed or question in self._proven

    def prove(self, question: Question) -> None:
        """The answer was seen to have the effect it should."""
        self._proven.add(question)

    async def settle(self, question: Question, call: Callable[[str], Awaitable[T]]) -> T:
        """Make a request whose shape depends on the answer; `call` gets the choice."""
        chosen = self._now[question]
        try:
            return await call(chosen)
        except ProblemError as error:
            if question in self._fixed or not _blames(error, question):
                raise
            first = error
        first_choice, second_choice = CHOICES[question]
        other = second_choice if chosen == first_choice else first_choice
        try:
            result = await call(other)
        except ProblemError as second:
            # Refused both ways: it is not the shape. The complaint about something else is the
            # one that helps.
            raise (first if _blames(second, question) else second) from None
        self._keep(question, other)
        return result

    def _keep(self, question: Question, choice: str) -> None:
        self._proven.add(question)
        if self._now[question] == choice:
            return
        self._now[question] = choice
        self._told.append(f"the service wants {question} = {choice}")
        log.warning("octopia_variant_learnt", question=str(question), choice=choice)
        if self._on_variant is not None:
            self._on_variant(str(question), choice)


def _blames(error: ProblemError, question: Question) -> bool:
    return error.status == 400 and error.names(_FIELDS[question])
