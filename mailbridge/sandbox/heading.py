"""What every answer of the service begins with: words, success, errors, echoes of login and token.

The rule: which operation echoes what is as recorded. What follows in an answer is the business
of `operations` and `order_operations`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lxml import etree

from mailbridge.sandbox.orders import LineRefusal
from mailbridge.sandbox.wire import MSG, answer, node, put

__all__ = ["ALIAS_REFUSED", "Heading", "put_errors"]

# Echoes of login and token, as recorded operation by operation.
_ECHO: Mapping[str, tuple[bool, bool]] = {
    "GetOrderClaimList": (True, False),
    "GetOrderQuestionList": (True, False),
    "GetOfferQuestionList": (True, False),
    "GetDiscussionList": (True, False),
    "GetDiscussionMailList": (False, False),
    "GenerateDiscussionMailGuid": (False, False),
}
ALIAS_REFUSED = (
    "Vous ne pouvez obtenir les alias de clients dont la commande est expédiée depuis plus de "
    "4 semaines"
)


class Heading:
    """Begins the answers to one seller."""

    def __init__(self, login: str) -> None:
        # The API account is the seller's login with a suffix; the echo is the seller's.
        self._seller = login.removesuffix("-api")

    def start(
        self,
        name: str,
        token: str | None,
        *,
        ok: bool = True,
        message: str = "",
        errors: Iterable[LineRefusal] = (),
        prefixes: Mapping[str, str] | None = None,
    ) -> tuple[etree._Element, etree._Element]:
        """Envelope and result of an answer, the result to be filled."""
        envelope, result = answer(name, prefixes)
        login, echo = _ECHO.get(name, (True, True))
        put(result, "ErrorMessage", message, MSG)
        put(result, "OperationSuccess", ok, MSG)
        put_errors(node(result, "ErrorList"), errors)
        put(result, "SellerLogin", self._seller if login else None)
        put(result, "TokenId", token if echo else None)
        return envelope, result


def put_errors(parent: etree._Element, errors: Iterable[LineRefusal]) -> None:
    """An `Error` for each."""
    for error in errors:
        item = node(parent, "Error")
        put(item, "ErrorType", error.kind)
        put(item, "Message", error.message)
