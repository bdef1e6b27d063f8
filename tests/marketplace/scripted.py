"""A service that answers what the test wrote down, over real HTTP, and keeps what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from lxml import etree

from mailbridge.marketplace.cdiscount import CdiscountMarketplace

TOKEN = "0123456789abcdef0123456789abcdef"
LOGIN = "boutique-api"
PASSWORD = "pass:wôrd"
FRAMEWORK = (
    "http://schemas.datacontract.org/2004/07/Cdiscount.Framework.Core.Communication.Messages"
)
CDISCOUNT = "http://www.cdiscount.com"
XML = "text/xml; charset=utf-8"


@dataclass(frozen=True)
class Reply:
    """One answer; `send` takes the connection over where plain HTTP will not do."""

    body: bytes | str = b""
    status: int = 200
    content_type: str = XML
    headers: dict[str, str] = field(default_factory=dict)
    send: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None


def envelope(inner: str) -> str:
    return (
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>'
        f"{inner}</s:Body></s:Envelope>"
    )


def answer(
    operation: str, inner: str = "", *, success: bool = True, message: str = "", errors: str = ""
) -> str:
    """An answer as the service writes it; `inner` follows the fields of every answer."""
    word = "true" if success else "false"
    return envelope(
        f'<{operation}Response xmlns="{CDISCOUNT}"><{operation}Result '
        'xmlns:i="http://www.w3.org/2001/XMLSchema-instance">'
        f'<ErrorMessage xmlns="{FRAMEWORK}">{message}</ErrorMessage>'
        f'<OperationSuccess xmlns="{FRAMEWORK}">{word}</OperationSuccess>'
        f"<ErrorList>{errors}</ErrorList><SellerLogin>BOUTIQUE</SellerLogin>"
        f"<TokenId>{TOKEN}</TokenId>{inner}</{operation}Result></{operation}Response>"
    )


def error(kind: str, message: str = "") -> str:
    return f"<Error><ErrorType>{kind}</ErrorType><Message>{message}</Message></Error>"


def fault(code: str, text: str, status: int = 500) -> Reply:
    return Reply(
        envelope(
            f"<s:Fault><faultcode>{code}</faultcode>"
            f'<faultstring xml:lang="fr-FR">{text}</faultstring></s:Fault>'
        ),
        status,
    )


def token_died() -> Reply:
    return fault(
        "s:RequestTokenValidationError", "Your token does not exist, please renew your token id."
    )


def token_xml(value: str = TOKEN) -> str:
    return f'<string xmlns="http://schemas.microsoft.com/2003/10/Serialization/">{value}</string>'


LISTS = {
    "GetOrderClaimList": ("OrderClaimList", "OrderClaim"),
    "GetOrderQuestionList": ("OrderQuestionList", "OrderQuestion"),
    "GetOfferQuestionList": ("OfferQuestionList", "OfferQuestion"),
    "GetDiscussionList": ("DiscussionList", "Discussion"),
}


def thread(
    ident: int | str = 1,
    *,
    created: str = "2019-04-25T10:51:55.177",
    status: str = "Open",
    messages: str | None = None,
    extra: str = "<OrderNumber>1904241640CLE8Z</OrderNumber>",
) -> str:
    """The inside of one discussion, in the contract's order."""
    if messages is None:
        messages = message("Où est mon colis ?", time=created)
    return (
        f'<CloseDate i:nil="true"/><CreationDate>{created}</CreationDate><Id>{ident}</Id>'
        f"<LastUpdatedDate>{created}</LastUpdatedDate>{messages}"
        f"<Status>{status}</Status><Subject>Sujet</Subject>{extra}"
    )


def message(
    text: str, *, sender: str = "Mme Martin", time: str = "2019-04-25T10:51:55.177", type_: str = ""
) -> str:
    kind = f"<SenderType>{type_}</SenderType>" if type_ else ""
    return (
        f"<Messages><Message><Content>{text}</Content><Sender>{sender}</Sender>{kind}"
        f"<Timestamp>{time}</Timestamp></Message></Messages>"
    )


def listed(operation: str, *threads: str, **said: Any) -> str:
    """An answer of a list operation."""
    outer, inner = LISTS[operation]
    items = "".join(f"<{inner}>{one}</{inner}>" for one in threads)
    return answer(operation, f"<{outer}>{items}</{outer}>", **said)


class ScriptedService:
    """STS and service on loopback. An operation without a script gets an empty list."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, etree._Element]] = []
        self.sign_ins: list[web.Request] = []
        self._scripts: dict[str, list[Reply]] = {}
        self._token: list[Reply] = [Reply(token_xml(), content_type="text/plain")]
        self._files: dict[str, bytes] = {}
        app = web.Application()
        app.router.add_get("/sts/", self._sign_in)
        app.router.add_get("/service.svc", self._describe)
        app.router.add_post("/service.svc", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        self.url = ""

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._runner.cleanup()

    def on(self, operation: str, *replies: Reply | str) -> None:
        """What to answer in turn; the last answer is repeated."""
        self._scripts[operation] = [r if isinstance(r, Reply) else Reply(r) for r in replies]

    def on_sign_in(self, *replies: Reply | str) -> None:
        self._token = [
            r if isinstance(r, Reply) else Reply(r, content_type="text/plain") for r in replies
        ]

    def serve_wsdl(self, files: dict[str, bytes]) -> None:
        """Documents by query string, such as `wsdl` and `xsd=xsd0`."""
        self._files = files

    def asked(self, operation: str) -> list[etree._Element]:
        """The bodies' first elements of the calls of one operation."""
        return [request for name, request in self.calls if name == operation]

    def marketplace(self, **options: Any) -> CdiscountMarketplace:
        """An adapter pointed here; quick unless told otherwise."""

        async def password() -> str:
            return PASSWORD

        async def no_pause(seconds: float) -> None:
            await asyncio.sleep(0)

        settings: dict[str, Any] = {
            "login": LOGIN,
            "password": password,
            "token_url": f"{self.url}/sts/",
            "service_url": f"{self.url}/service.svc",
            "clock": lambda: datetime.now(UTC),
            "timeout": 5.0,
            "sleep": no_pause,
            "shop_names": ("Ma Boutique",),
        }
        return CdiscountMarketplace(**(settings | options))

    async def _sign_in(self, request: web.Request) -> web.StreamResponse:
        self.sign_ins.append(request)
        reply = self._token.pop(0) if len(self._token) > 1 else self._token[0]
        return await _send(reply, request)

    async def _describe(self, request: web.Request) -> web.StreamResponse:
        body = self._files.get(request.query_string)
        if body is None:
            raise web.HTTPNotFound
        return web.Response(body=body, content_type="text/xml")

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = etree.fromstring(await request.read()).find(
            "{http://schemas.xmlsoap.org/soap/envelope/}Body"
        )
        assert body is not None
        operation = str(etree.QName(body[0]).localname)
        assert request.headers["SOAPAction"] == (
            f'"{CDISCOUNT}/IMarketplaceAPIService/{operation}"'
        )
        self.calls.append((operation, body[0]))
        script = self._scripts.get(operation)
        if script is None:
            empty = listed(operation) if operation in LISTS else answer(operation)
            return await _send(Reply(empty), request)
        return await _send(script.pop(0) if len(script) > 1 else script[0], request)


async def _send(reply: Reply, request: web.Request) -> web.StreamResponse:
    if reply.send is not None:
        return await reply.send(request)
    body = reply.body.encode() if isinstance(reply.body, str) else reply.body
    return web.Response(
        body=body,
        status=reply.status,
        headers={"Content-Type": reply.content_type} | reply.headers,
    )


async def after(seconds: float, request: web.Request) -> web.StreamResponse:
    """Say nothing for a while."""
    await asyncio.sleep(seconds)
    return web.Response(body=b"")
