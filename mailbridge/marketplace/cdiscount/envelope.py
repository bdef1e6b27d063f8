"""What every call has around it: the header going out, the verdict coming back.

The rule: nothing of an answer is used before `unwrap` has looked for a fault and `judge` for
`OperationSuccess`. Mappers call `judge` themselves, because some answers carry data and an error
at once, and one operation says "no address" by failing without a word.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from mailbridge.marketplace.cdiscount.errors import business_error, fault_error
from mailbridge.marketplace.cdiscount.reading import Node
from mailbridge.marketplace.port import ContractError, MarketplaceError

__all__ = ["header", "judge", "unwrap", "verdict"]


def header(token: str, partner: str) -> dict[str, Any]:
    """The headerMessage the service was seen to accept; integrators sign with `partner`."""
    return {
        "Context": {"CatalogID": 1, "SiteID": 100},
        "Localization": {"Country": "Fr"},
        "Security": {
            "DomainRightsList": None,
            "IssuerID": None,
            "SessionID": None,
            "TokenId": token,
            "UserName": partner,
        },
        "Version": "1.0",
    }


def unwrap(root: Node, operation: str, secrets: Collection[str] = ()) -> Node:
    """The result element of an answer; raises the error a fault stands for."""
    body = root.child("Body") if root.name == "Envelope" else None
    if body is None:
        raise ContractError(f"{operation}: the answer is no SOAP envelope")
    fault = body.child("Fault")
    if fault is not None:
        raise fault_error(fault.text("faultcode"), fault.text("faultstring"), secrets)
    response = body.child(f"{operation}Response")
    result = None if response is None else response.child(f"{operation}Result")
    if result is None:
        raise ContractError(f"{operation}: the answer lacks {operation}Result")
    result.where = operation
    return result


def verdict(result: Node, secrets: Collection[str] = ()) -> MarketplaceError | None:
    """The error of `OperationSuccess=false`, None if the operation succeeded."""
    success = result.boolean("OperationSuccess")
    if success is None:
        raise result.broken("OperationSuccess", "missing")
    if success:
        return None
    types = [error.text("ErrorType").strip() for error in result.items("ErrorList", "Error")]
    words = result.text("ErrorMessage").strip() or "; ".join(
        filter(
            None, (error.text("Message").strip() for error in result.items("ErrorList", "Error"))
        )
    )
    return business_error(words, [name for name in types if name], secrets)


def judge(result: Node, secrets: Collection[str] = ()) -> None:
    """Raise the error of `OperationSuccess=false`."""
    error = verdict(result, secrets)
    if error is not None:
        raise error
