"""Every way the API says no, turned into one of the port's errors.

The rule: 401 speaks of the token, 403 of what the client may do, 400, 404, 409 and 422 of this
one request; 429, 5xx and web pages pass. `TransientError.sent` is False where the answer itself
says that nothing was done (429). The service's words may repeat ours back, a customer's text
included: they pass through `scrub`, and long quotations are cut out.

Reading JSON is `client`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from mailbridge.marketplace.port import (
    ContractError,
    MarketplaceError,
    NotAuthorizedError,
    RefusedError,
    TransientError,
)
from mailbridge.marketplace.scrub import scrub

__all__ = ["ProblemError", "TokenRefused", "answer_error"]

_REQUEST_REFUSED = frozenset({400, 402, 404, 405, 406, 409, 410, 413, 415, 422})
_QUOTATION = re.compile(r"""(["'«“‘`])[^"'»”’`]{40,}(["'»”’`]|$)""")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


class TokenRefused(Exception):
    """The token died: sign in again and repeat the call once. Never leaves the adapter."""


class ProblemError(RefusedError):
    """Problem details (RFC 9457): this one request was refused, and nothing was done."""

    def __init__(self, message: str, *, status: int, named: frozenset[str], words: str):
        super().__init__(message, code=str(status))
        self.status = status
        self.named = named
        """Every name in the paths of the fields complained about, in lower case."""
        self.words = words
        """Title, detail and complaints, in lower case."""

    def names(self, fields: Collection[str]) -> bool:
        """Whether one of these fields is complained about; by the words where none is named."""
        wanted = {field.lower() for field in fields}
        if self.named:
            return bool(wanted & self.named)
        return bool(wanted & set(_NAME.findall(self.words)))


def answer_error(
    status: int,
    problem: object,
    *,
    retry_after: float | None = None,
    secrets: Collection[str] = (),
) -> MarketplaceError | TokenRefused:
    """The error for an answer that is no success; `problem` is its JSON, None if it has none."""
    if status == 401:
        return TokenRefused()
    if status == 429:
        return TransientError(
            "too many calls, the service says (HTTP 429)", sent=False, retry_after=retry_after
        )
    if status in (408, 425) or status >= 500 or 300 <= status < 400:
        return TransientError(
            f"the service is not available (HTTP {status})", retry_after=retry_after
        )
    if problem is None and status == 403:
        return TransientError(
            "the service's front end refused the connection (HTTP 403); if this lasts, ask "
            "Octopia to allow this server's IP address",
            retry_after=retry_after,
        )
    if problem is None and 200 <= status < 300:
        return TransientError(
            "the service sent a web page instead of an answer", retry_after=retry_after
        )
    details: Mapping[str, Any] = problem if isinstance(problem, dict) else {}
    words = _words(details, secrets)
    if status == 403:
        return NotAuthorizedError(
            "this client may not act for this seller (HTTP 403): "
            f"{words or 'no reason given'} (check `seller_id`, and in the Seller Zone that the "
            "account is delegated to this client id)"
        )
    if status in _REQUEST_REFUSED and (problem is not None or status != 404):
        return ProblemError(
            words or f"no reason given (HTTP {status})",
            status=status,
            named=_named(details),
            words=words.lower(),
        )
    if status == 404:
        return ContractError("no service at this address (HTTP 404): check `api_url`")
    return ContractError(f"the service did not accept the request (HTTP {status})")


def _words(details: Mapping[str, Any], secrets: Collection[str]) -> str:
    """`Title: detail (field: complaint; field: complaint)`, fit to show."""
    said = [details.get("title"), details.get("detail")]
    heads = list(dict.fromkeys(word for word in said if isinstance(word, str) and word.strip()))
    complaints = [
        f"{field}: {'; '.join(texts)}" if texts else field
        for field, texts in _complaints(details).items()
    ]
    text = ": ".join(heads)
    if complaints:
        text = f"{text} ({'; '.join(complaints)})" if text else "; ".join(complaints)
    return scrub(_QUOTATION.sub("…", text[:20_000]), secrets)


def _complaints(details: Mapping[str, Any]) -> dict[str, list[str]]:
    errors = details.get("errors")
    if not isinstance(errors, dict):
        return {}
    return {
        str(field): [one for one in texts if isinstance(one, str)]
        if isinstance(texts, list)
        else [texts]
        if isinstance(texts, str)
        else []
        for field, texts in list(errors.items())[:20]
    }


def _named(details: Mapping[str, Any]) -> frozenset[str]:
    """`$[0].op`, `receivers[0].userId` and `Message.Receiver` as the names in them."""
    return frozenset(
        name.lower() for field in _complaints(details) for name in _NAME.findall(field)
    )
