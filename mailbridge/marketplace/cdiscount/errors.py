"""Every way the service says no, turned into one of the port's errors.

The rule: judge a fault by its text, not by its code. One code,
`RequestTokenValidationError`, stands for a token that died (a new one helps) and for an account
that lacks the right (a new one never helps). The second kind prints the token, as a dashed UUID;
so whatever of the service's words goes on passes through `scrub` first.

Reading XML is `reading`'s business, HTTP is `wire`'s.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from mailbridge.marketplace.port import (
    ContractError,
    MarketplaceError,
    NotAuthorizedError,
    RefusedError,
    TransientError,
)
from mailbridge.marketplace.scrub import scrub

__all__ = ["TokenRefused", "business_error", "fault_error", "status_error"]

_LOOKED_AT = 4000
"""Characters of a fault's text that are searched: a search may be quadratic."""

_NOT_AUTHORIZED = re.compile(r"not authori[sz]ed|n.est pas autoris", re.IGNORECASE)
_TOKEN_DIED = re.compile(
    r"(?:token|jeton).*(?:not exist|n.existe pas|expir|not correctly formatted)", re.IGNORECASE
)
# ErrorType values of a 200 answer. The rest are refusals of one request.
_NO_RIGHT = frozenset(
    {"NotAuthorizedException", "SellerNotAuthorized", "InactiveSellerError", "FunctionNotActive"}
)


class TokenRefused(Exception):
    """The token died: sign in again and repeat the call once. Never leaves the adapter."""


def fault_error(
    code: str, text: str, secrets: Collection[str] = ()
) -> MarketplaceError | TokenRefused:
    """The error for a SOAP fault, by its text first and its code second."""
    start = text[:_LOOKED_AT]
    name = scrub(code.rpartition(":")[2], secrets)
    words = scrub(text, secrets) or "no reason given"
    if _NOT_AUTHORIZED.search(start):
        return NotAuthorizedError(
            f"the account lacks the right to this operation: {words} "
            "(ask Cdiscount to open it for the API account; a new token does not help)"
        )
    if _TOKEN_DIED.search(start):
        return TokenRefused(words)
    if name == "RequestTokenValidationError":
        return TransientError(f"the service refused the token in words we do not know: {words}")
    if name in ("DeserializationFailed", "ActionNotSupported", "Client"):
        return ContractError(
            f"the service did not understand the request ({name}): {words} "
            "(is `wsdl` the one of this service?)"
        )
    return TransientError(f"the service failed ({name or 'fault without a code'}): {words}")


def business_error(
    message: str, types: Sequence[str], secrets: Collection[str] = ()
) -> MarketplaceError:
    """The error for `OperationSuccess=false`; `types` are the answer's ErrorTypes, maybe none.

    The message may be empty and the list of errors too: the service was seen to say no without
    a word.
    """
    code = scrub(types[0]) if types else ""
    words = scrub(message, secrets) or code or "no reason given"
    if _NO_RIGHT.intersection(types):
        return NotAuthorizedError(f"the account may not do this: {words}")
    if "Quota" in types:
        return TransientError(f"too many calls, the service says: {words}", sent=True)
    return RefusedError(words, code=code)


def status_error(status: int, retry_after: float | None = None) -> MarketplaceError:
    """The error for an answer that is no SOAP at all, by its HTTP status."""
    if status in (401, 403):
        return TransientError(
            f"the service's front end refused the connection (HTTP {status}); if this lasts, "
            "ask Cdiscount to allow this server's IP address",
            retry_after=retry_after,
        )
    if status in (404, 410):
        return ContractError(f"no service at this address (HTTP {status}): check `service_url`")
    if status in (408, 425, 429) or status >= 500 or 300 <= status < 400:
        return TransientError(
            f"the service is not available (HTTP {status})", retry_after=retry_after
        )
    if status == 200:
        return TransientError(
            "the service sent a web page instead of an answer", retry_after=retry_after
        )
    return ContractError(f"the service did not accept the request (HTTP {status})")
