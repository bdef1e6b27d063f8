"""One request as an operation sees it, one answer as it gives it, and refusals.

A refusal is a `Problem`, in the shape of the real service: problem details with the fields that
are wrong named in `errors`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

__all__ = ["Answer", "Asked", "Handler", "Json", "Problem", "read_time", "required"]

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """What came: parts of the path, the query, and the body where there is one."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any = None

    @property
    def fields(self) -> Json:
        """The body as an object; raises Problem."""
        if not isinstance(self.body, dict):
            raise Problem.of("$", "The JSON value could not be converted.")
        return self.body


@dataclass(frozen=True, slots=True)
class Answer:
    """`document` None is an empty body; `next` are the query's changes that lead to the next
    page, None on the last one."""

    document: Json | None
    status: int = 200
    next: Mapping[str, str] | None = None


Handler = Callable[[Asked], Answer]
"""Carries out one operation; raises Problem."""


@dataclass(eq=False)
class Problem(Exception):
    """The request is refused; nothing was done."""

    status: int
    title: str
    detail: str = ""
    errors: Mapping[str, list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, complaint: str) -> Problem:
        """A 400 that names one field."""
        title = "One or more validation errors occurred."
        return cls(400, title, errors={name: [complaint]})

    @classmethod
    def missing(cls, name: str) -> Problem:
        """A 400 for a field that is wanted and not there."""
        return cls.of(name, f"The {name} field is required.")

    @classmethod
    def not_found(cls, what: str) -> Problem:
        """A 404."""
        return cls(404, "Not Found", f"{what} was not found.")

    def document(self, trace: str) -> Json:
        """The body."""
        document: Json = {
            "type": f"https://httpstatuses.io/{self.status}",
            "title": self.title,
            "status": self.status,
            "traceId": trace,
        }
        if self.detail:
            document["detail"] = self.detail
        if self.errors:
            document["errors"] = dict(self.errors)
        return document


def required(fields: Mapping[str, Any], name: str, kind: type = str) -> Any:
    """A member that must be there and of this kind; raises Problem."""
    value = fields.get(name)
    if value is None or value == "":
        raise Problem.missing(name)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise Problem.of(name, f"The value of {name} could not be converted.")
    return value


def read_time(query: Mapping[str, str], name: str) -> datetime | None:
    """A time of the query; without a zone it is UTC (our choice). Raises Problem."""
    text = query.get(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Problem.of(name, f"The value '{text}' is not valid.") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
