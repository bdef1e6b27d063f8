"""How the faults that any door may have look in JSON.

Those of the connection itself are carried out where the socket is.
"""

from __future__ import annotations

from typing import Any

from mailbridge.sandbox.faults import (
    EmptyFailure,
    ExtraElement,
    Fault,
    InternalError,
    NilLists,
    NotAuthorized,
    Refusal,
    Throttled,
    TokenFault,
    UnknownValue,
)
from mailbridge.sandbox.octopia.asking import Problem

__all__ = ["altered", "problem_of"]


def problem_of(hit: Fault | None) -> Problem | None:
    """The refusal that a fault stands for, before anything is done."""
    match hit:
        case TokenFault(text):
            headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
            return Problem(401, "Unauthorized", text, headers=headers)
        case NotAuthorized():
            return Problem(403, "Forbidden", "The client is not authorized to act for the seller.")
        case InternalError():
            return Problem(500, "An error occurred while processing your request.")
        case Throttled(retry_after):
            told = {} if retry_after is None else {"Retry-After": str(retry_after)}
            return Problem(429, "Too Many Requests", headers=told)
        case EmptyFailure():
            return Problem(400, "")
        case Refusal(message, error_type):
            return Problem(400, error_type, message)
        case _:
            return None


def altered(document: Any, hit: Fault | None) -> Any:
    """The answer with what a fault puts into it; the effect was done."""
    match document:
        case dict():
            changed = {name: _member(name, value, hit) for name, value in document.items()}
            return {name: altered(value, hit) for name, value in changed.items()}
        case list():
            return [altered(value, hit) for value in document]
        case _:
            return document


def _member(name: str, value: Any, hit: Fault | None) -> Any:
    match hit:
        case UnknownValue(element, word) if name == element:
            return word
        case ExtraElement(parent, extra, text) if name == parent:
            items = value if isinstance(value, list) else [value]
            for each in items:
                if isinstance(each, dict):
                    each[extra] = text
            return value
        case NilLists() if isinstance(value, list):
            return None
        case _:
            return value
