"""The sections that are about a marketplace: one model for each API, told apart by its `kind`.

The rule: what can be set of one marketplace only stands in its model here and nowhere else, so that
one more of them is one more model, and its place in `models.Account.marketplace`.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from mailbridge.config.kinds import (
    Between,
    Duration,
    HttpUrl,
    Kind,
    Line,
    Word,
    http_url,
    resolve,
)
from mailbridge.config.secret import Secret
from mailbridge.config.section import Model

__all__ = ["SHIPPED_WSDL", "Cdiscount", "Octopia", "marketplace_kind"]

SHIPPED_WSDL = ("builtin", "builtin-2020")
"""Descriptions of the service that come with mailbridge."""


class Octopia(Model):
    """The Octopia Seller REST API, which took the SOAP service's place."""

    kind: Literal["octopia"] = "octopia"
    """Which marketplace; left out, a `login` means `cdiscount`, anything else `octopia`."""
    client_id: Word
    """Of the API credentials made in the Seller Zone."""
    client_secret: Secret
    """The secret beside it."""
    seller_id: Word
    """The seller's number, as the Seller Zone shows it."""
    sales_channels: tuple[Line, ...] = ()
    """Only discussions and orders of these channels, such as `CDISFR`; empty: all."""
    api_url: HttpUrl = "https://api.octopia-io.net/seller/v2"
    """What stands before the path of every call."""
    token_url: HttpUrl = (
        "https://auth.octopia-io.net/auth/realms/maas/protocol/openid-connect/token"  # noqa: S105
    )
    """Where tokens are issued."""
    timeout: Annotated[Duration, Between("5s", "15m")] = timedelta(seconds=60)
    """For one whole call."""
    seller_url: HttpUrl = "https://seller.octopia.com"
    """The seller's web page, for links in the threads."""
    opening_topic: Line = ""
    """Sub-typology of discussions you open yourself; empty: the broadest one on offer."""
    refund_reasons: dict[str, Line] = Field(default_factory=dict)
    """The service's reason for each cause of a refund; else the one whose words fit best.

    Causes: claim, withdrawal, goodwill, out_of_stock.
    """
    reply_shape: Literal["auto", "receiver", "receivers"] = "auto"
    """How a message names whom it goes to; `auto` finds out what the service takes."""
    patch_shape: Literal["auto", "opt", "op"] = "auto"
    """How a change is written."""
    cancel_key: Literal["auto", "orderSellerId", "orderId"] = "auto"
    """What a cancellation calls the order."""
    cancel_shipping: Literal["auto", "line", "order"] = "auto"
    """Where a cancellation of lines says that shipping is refunded."""

    @property
    def endpoint(self) -> str:
        """The service's own address."""
        return self.api_url


def _wsdl(value: str, info: ValidationInfo) -> str:
    if value in SHIPPED_WSDL:
        return value
    if "://" in value:
        return http_url(value)
    return str(resolve(Path(value), info))


class Cdiscount(Model):
    """The Cdiscount SOAP service (closed to most sellers in 2025)."""

    kind: Literal["cdiscount"] = "cdiscount"
    """Which marketplace."""
    login: Annotated[Line, Field(min_length=1)]
    """The API account, the seller's login with `-api` at its end."""
    password: Secret
    """The API account's password."""
    token_url: HttpUrl = "https://sts.cdiscount.com/users/httpIssue.svc/"  # noqa: S105
    """Where tokens are issued."""
    service_url: HttpUrl = "https://wsvc.cdiscount.com/MarketplaceAPIService.svc"
    """The SOAP service itself."""
    wsdl: Annotated[Line, Kind("name, URL or path"), AfterValidator(_wsdl)] = "builtin"
    """`builtin`: the subset shipped with mailbridge, as the service had it in 2019;
    `builtin-2020`: the same with GetDiscussionList, which the service had later (one list in
    place of three); else a URL or a path of a WSDL."""
    partner: Line = ""
    """Partner name for the header's Security/UserName, as Cdiscount asks of integrators."""
    timeout: Annotated[Duration, Between("30s", "15m")] = timedelta(seconds=240)
    """For one whole call; the service was seen to take minutes."""
    seller_url: HttpUrl = "https://seller.cdiscount.com"
    """The seller's web page, for links in the threads."""

    @property
    def endpoint(self) -> str:
        """The service's own address."""
        return self.service_url


def marketplace_kind(table: Any) -> str:
    """Which marketplace a table is about: its `kind`, else by the key only one of them has."""
    if isinstance(table, Model):
        return str(getattr(table, "kind", ""))
    if not isinstance(table, dict):
        return "octopia"
    kind = table.get("kind", "cdiscount" if "login" in table else "octopia")
    return kind if isinstance(kind, str) else ""
