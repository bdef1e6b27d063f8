"""An API that answers what the test wrote down, and keeps what it was asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import httpx

from mailbridge.marketplace.octopia import OctopiaMarketplace

TOKEN = "eyJhbGciOiJSUzI1NiJ9.c2VjcmV0LXRva2Vu.c2lnbmVk"
SECRET = "hush-hush-client-secret"
CLIENT = "client-7c1f"
SELLER = "98979"
API = "https://api.octopia.test/seller/v2"
AUTH = "https://auth.octopia.test/token"
NOW = datetime(2023, 10, 17, 14, 0, tzinfo=UTC)
IDENT = "652e92fc3b6ff8977effe471"
NUMBER = "288598169"


@dataclass(frozen=True)
class Reply:
    """One answer; `does` takes over where an answer will not do."""

    data: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    does: Callable[[httpx.Request], Awaitable[httpx.Response]] | None = None


def problem(
    status: int, title: str = "", errors: dict[str, list[str]] | None = None, detail: str = ""
) -> Reply:
    data: dict[str, Any] = {"status": status, "title": title, "detail": detail, "traceId": "00-1"}
    if errors is not None:
        data["errors"] = errors
    return Reply(data, status, {"Content-Type": "application/problem+json; charset=utf-8"})


def page(*items: Any, next_: str = "", size: int = 50) -> Reply:
    headers = {"Link": f'<{next_}>; rel="next"'} if next_ else {}
    return Reply({"itemsPerPage": size, "items": list(items)}, headers=headers)


def html(status: int = 200) -> Reply:
    return Reply(None, status, {"Content-Type": "text/html"}, b"<html><body>Wait</body></html>")


async def _breaks(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("gone", request=request)


BROKEN = Reply(does=_breaks)
"""Silence: the connection is cut when the request was sent."""


def token(value: str = TOKEN, **fields: Any) -> Reply:
    return Reply({"access_token": value, "expires_in": 7200, "token_type": "Bearer"} | fields)


def said(text: str, ident: str = "m1", who: str = "Customer", **fields: Any) -> dict[str, Any]:
    return {
        "messageId": ident,
        "body": text,
        "createdAt": "2023-10-17T13:58:01.413Z",
        "sender": {"userId": "0000000403YZ", "userType": who},
        "hasRead": False,
        "attachments": [],
    } | fields


def talk(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A discussion as the official sample has it."""
    return {
        "discussionId": IDENT,
        "subject": "Demande de modification d'adresse de livraison",
        "orderReference": "2310171354KBDRE",
        "orderSellerId": "2310171354KBDRE",
        "salesChannelExternalReference": NUMBER,
        "isOpen": True,
        "graduation": "Discussion",
        "subTypologyCode": "orderAddressChangeCdiscount",
        "typologyCode": "Order",
        "createdAt": "2023-10-17T13:58:01.413Z",
        "updatedAt": "2023-10-17T13:58:01.32Z",
        "status": "ToTreat",
        "customerId": "0000000403YZ",
        "sellerId": SELLER,
        "salesChannel": "CDISFR",
        "messages": list(messages),
        "receivers": [{"userId": "0000000403YZ", "userType": "Customer"}],
    } | fields


def line(ident: str = "L1", reference: str = "REF-1", **fields: Any) -> dict[str, Any]:
    return {
        "orderLineId": ident,
        "status": "Shipped",
        "quantity": 2,
        "sellingPrice": {"unitSalesPrice": 12.35, "shippingCost": 4.9},
        "offerPrice": {"unitSalesPrice": 11, "shippingCost": 4.9},
        "offer": {
            "id": f"offer-{ident}",
            "sellerProductId": reference,
            "supplyMode": "Seller",
            "productTitle": "Carafe",
            "productGtin": "2009863600561",
        },
        "parcels": [{"parcelNumber": "6A1", "carrierName": "Colissimo"}],
    } | fields


def order(*lines: dict[str, Any], number: str = "2310171354KBDRE", **fields: Any) -> dict[str, Any]:
    return {
        "orderId": number,
        "reference": number,
        "salesChannel": {"id": "CDISFR", "name": "Cdiscount"},
        "createdAt": "2023-10-15T08:00:00Z",
        "updatedAt": "2023-10-16T08:00:00.1Z",
        "status": "Shipped",
        "currencyCode": "EUR",
        "billingAddress": {"civility": "Mme", "firstName": "Zoé", "lastName": "Martin"},
        "totalPrice": {"sellingPrice": 29.6},
        "lines": list(lines) or [line()],
    } | fields


class ScriptedApi:
    """Token endpoint and API. A call without a script gets an empty list, or 404."""

    def __init__(self) -> None:
        self.calls: list[httpx.Request] = []
        self.sign_ins: list[dict[str, str]] = []
        self.now = NOW
        self.learnt: list[tuple[str, str]] = []
        self.pauses: list[float] = []
        self._scripts: dict[tuple[str, str], list[Reply]] = {}
        self._tokens = [token()]

    def on(self, method: str, where: str, *replies: Reply | Any) -> None:
        """What to answer in turn; the last answer is repeated."""
        self._scripts[method, where] = [r if isinstance(r, Reply) else Reply(r) for r in replies]

    def on_sign_in(self, *replies: Reply) -> None:
        self._tokens = list(replies)

    def shows(self, *talks: dict[str, Any], listed: dict[str, Any] | None = None) -> None:
        """These discussions are listed, without their messages, and can be read; `listed` is what
        the list says otherwise."""
        hidden = ("messages", "receivers")
        items = [
            {k: v for k, v in one.items() if k not in hidden} | (listed or {}) for one in talks
        ]
        self.on("GET", "/discussions", page(*items))
        for one in talks:
            self.on("GET", f"/discussions/{one['discussionId']}", one)

    def asked(self, method: str, where: str) -> list[httpx.Request]:
        path = f"/seller/v2{where}"
        return [c for c in self.calls if c.method == method and c.url.path == path]

    def sent(self, method: str, where: str) -> list[Any]:
        """The bodies of calls with an effect."""
        return [json.loads(call.content) for call in self.asked(method, where)]

    def marketplace(self, **options: Any) -> OctopiaMarketplace:
        """An adapter pointed here, that never waits."""

        async def secret() -> str:
            return SECRET

        async def no_pause(seconds: float) -> None:
            self.pauses.append(seconds)

        settings: dict[str, Any] = {
            "client_id": CLIENT,
            "client_secret": secret,
            "seller_id": SELLER,
            "api_url": API,
            "token_url": AUTH,
            "clock": lambda: self.now,
            "timeout": 5.0,
            "sleep": no_pause,
            "on_variant": lambda *pair: self.learnt.append(pair),
            "transport": httpx.MockTransport(self._serve),
        }
        return OctopiaMarketplace(**(settings | options))

    async def _serve(self, request: httpx.Request) -> httpx.Response:
        if request.url.host == "auth.octopia.test":
            form = parse_qs(request.content.decode(), strict_parsing=True)
            self.sign_ins.append({key: values[0] for key, values in form.items()})
            return await _answer(self._tokens, request)
        self.calls.append(request)
        where = request.url.path.removeprefix("/seller/v2")
        script = self._scripts.get((request.method, where))
        if script is not None:
            return await _answer(script, request)
        one = where.count("/") > 1 or request.method != "GET"
        return await _answer([problem(404, "Not Found") if one else page()], request)


async def _answer(script: list[Reply], request: httpx.Request) -> httpx.Response:
    await asyncio.sleep(0)
    reply = script.pop(0) if len(script) > 1 else script[0]
    if reply.does is not None:
        return await reply.does(request)
    body = reply.raw
    if body is None:
        body = b"" if reply.data is None else json.dumps(reply.data).encode()
    headers = {"Content-Type": "application/json"} | reply.headers
    return httpx.Response(reply.status, headers=headers, stream=httpx.ByteStream(body))
