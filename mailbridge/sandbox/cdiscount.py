"""The marketplace's API on loopback: token endpoint, WSDL, and SOAP 1.1 over real HTTP.

This file holds the sockets and carries out faults. What an operation means is in `operations`,
what the state is in `books`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import uuid
from pathlib import Path
from types import TracebackType

from aiohttp import web
from lxml import etree

from mailbridge.sandbox.books import Books, TokenState
from mailbridge.sandbox.clock import Clock
from mailbridge.sandbox.faults import (
    GET_TOKEN,
    AnswerLost,
    EmptyFailure,
    ExtraElement,
    Fault,
    FaultPlan,
    Hang,
    HtmlError,
    HtmlPage,
    InternalError,
    NilLists,
    NotAuthorized,
    RawAnswer,
    Refusal,
    ResetBefore,
    Rewrite,
    SlowDrip,
    Throttled,
    TokenFault,
    Truncated,
    UnknownValue,
)
from mailbridge.sandbox.operations import Operations
from mailbridge.sandbox.traffic import BOT_GUARD, Call, Reset, cut, drip, html_error
from mailbridge.sandbox.wire import MalformedRequest, fault, parse_request, serialize
from mailbridge.sandbox.wsdl_folder import WsdlFolder

__all__ = ["Call", "CdiscountSimulator"]

CONTRACT = Path(__file__).parent.parent / "marketplace" / "cdiscount" / "contract"
"""The WSDL subset that is shipped with mailbridge."""

_SERVICE = "/MarketplaceAPIService.svc"
_STS = "/users/httpIssue.svc/"
_REALM = "https://wsvc.cdiscount.com/MarketplaceAPIService.svc"
_ACTION = "http://www.cdiscount.com/IMarketplaceAPIService/"
_XML = "text/xml; charset=utf-8"
_TOKEN_CODE = "s:RequestTokenValidationError"  # noqa: S105 - a fault code
_TOKEN_WORDS = {
    TokenState.MALFORMED: "Token id is not correctly formatted.",
    TokenState.UNKNOWN: "Your token does not exist, please renew your token id.",
    TokenState.EXPIRED: "Your token does not exist, please renew your token id.",
}


class CdiscountSimulator:
    """The service for one seller. Use as `async with`; may be stopped and started again.

    Restarted, it keeps its port, so that a daemon finds it where it was.
    """

    def __init__(
        self,
        books: Books,
        *,
        wsdl: Path | None = None,
        modern: bool = False,
        clock: Clock | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        """`wsdl` is the folder served under `?wsdl` (None: the subset mailbridge ships).

        `modern`: the schema of 2020 with GetDiscussionList and SenderType.
        """
        self.books = books
        self.faults = FaultPlan(books.rng)
        self.calls: list[Call] = []
        """Every SOAP and token request since the start, oldest first."""
        self._clock = clock or books.clock
        self._operations = Operations(books, modern=modern)
        self._wsdl = WsdlFolder(wsdl or CONTRACT, prefer="service-2020" if modern else "service")
        self._host = host
        self._port = 0
        self._runner: web.AppRunner | None = None

    # --- where it is -------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The port; 0 before the first start."""
        return self._port

    @property
    def token_url(self) -> str:
        """Where tokens come from; the client adds `?realm=…`."""
        return f"http://{self._host}:{self._port}{_STS}"

    @property
    def service_url(self) -> str:
        """Where operations are posted."""
        return f"http://{self._host}:{self._port}{_SERVICE}"

    @property
    def wsdl_url(self) -> str:
        """Where the contract is."""
        return f"{self.service_url}?wsdl"

    @property
    def login(self) -> str:
        """API login of the seller."""
        return self.books.login

    @property
    def password(self) -> str:
        """Password of the API login."""
        return self.books.password

    def performed(self, operation: str) -> int:
        """How often the operation was really carried out."""
        return sum(call.performed for call in self.calls if call.operation == operation)

    # --- life --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen; raises OSError if the port of an earlier start was taken meanwhile."""
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_get(_STS, self._token)
        app.router.add_get(_SERVICE, self._describe)
        app.router.add_post(_SERVICE, self._serve)
        runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.05, handler_cancellation=True
        )
        await runner.setup()
        site = web.TCPSite(runner, self._host, self._port, reuse_address=True)
        await site.start()
        self._port = int(runner.addresses[0][1])
        self._runner = runner

    async def stop(self) -> None:
        """Close every connection, cutting calls under way."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def __aenter__(self) -> CdiscountSimulator:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    # --- endpoints ---------------------------------------------------------------------------

    async def _token(self, request: web.Request) -> web.StreamResponse:
        hit = self.faults.take(GET_TOKEN)
        call = self._note(GET_TOKEN, b"", hit)
        try:
            early = await self._before(request, hit, "")
            if early is not None:
                return early
            # The realm is the service's own address: the real one's, or ours.
            if request.query.get("realm") not in {_REALM, self.service_url}:
                return web.Response(status=400, text="unknown realm")
            token = self.books.issue_token(*_basic(request.headers.get("Authorization", "")))
            if token is None:
                return web.Response(
                    status=401,
                    headers={"WWW-Authenticate": 'Basic realm="Cdiscount STS"'},
                    text="Unauthorized",
                )
            root = etree.Element(
                "{http://schemas.microsoft.com/2003/10/Serialization/}string",
                nsmap={None: "http://schemas.microsoft.com/2003/10/Serialization/"},
            )
            root.text = token
            call.performed = True
            # As recorded: XML under the name of plain text.
            return await self._after(request, hit, root, "text/plain; charset=utf-8")
        except Reset:
            return cut(request)

    async def _describe(self, request: web.Request) -> web.StreamResponse:
        document = self._wsdl.document(dict(request.query), self.service_url)
        if document is None:
            return web.Response(text=BOT_GUARD, content_type="text/html")
        return web.Response(body=document, headers={"Content-Type": _XML})

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if request.content_type != "text/xml":
            return web.Response(status=415, text="Cannot process the message: use text/xml")
        try:
            name, element = parse_request(body)
        except MalformedRequest as error:
            return _deserialization(error)
        action = request.headers.get("SOAPAction", "").strip('"')
        if name not in self._operations.names or action != _ACTION + name:
            return _soap_fault(
                "a:ActionNotSupported",
                f"The message with Action '{action}' cannot be processed at the receiver, due to "
                "a ContractFilter mismatch at the EndpointDispatcher.",
            )
        hit = self.faults.take(name)
        call = self._note(name, body, hit)
        token = self._operations.token(element, self._operations.parameter(name))
        try:
            early = await self._before(request, hit, token)
            if early is not None:
                return early
            state = self.books.token_state(token)
            if state is not TokenState.VALID:
                return _soap_fault(_TOKEN_CODE, _TOKEN_WORDS[state])
            match hit:
                case EmptyFailure():
                    envelope = self._operations.refusal(name, "", "")
                case Refusal(message, error_type):
                    envelope = self._operations.refusal(name, message, error_type)
                case _:
                    envelope = self._operations.perform(name, element, token)
                    call.performed = True
            return await self._after(request, hit, envelope, _XML)
        except MalformedRequest as error:
            return _deserialization(error)
        except Reset:
            return cut(request)

    # --- faults ------------------------------------------------------------------------------

    async def _before(
        self, request: web.Request, hit: Fault | None, token: str
    ) -> web.StreamResponse | None:
        match hit:
            case TokenFault(text):
                return _soap_fault(_TOKEN_CODE, text)
            case NotAuthorized():
                dashed = uuid.UUID(token) if len(token) == 32 else token
                return _soap_fault(
                    _TOKEN_CODE,
                    "User is not authorized to access to this resource (Token used: "
                    f"'{dashed}', Resource: (Service{_SERVICE}/Action"
                    f"{request.headers.get('SOAPAction', '')}))",
                )
            case InternalError():
                return _soap_fault(
                    "a:InternalServiceFault",
                    "The server was unable to process the request due to an internal error.",
                )
            case HtmlError(after=False):
                return html_error(hit)
            case Throttled(retry_after):
                return html_error(HtmlError(429, retry_after=retry_after))
            case HtmlPage():
                return web.Response(text=BOT_GUARD, content_type="text/html")
            case RawAnswer(body, status, content_type):
                return web.Response(
                    body=body, status=status, headers={"Content-Type": content_type}
                )
            case Hang(seconds, after=False):
                await asyncio.sleep(seconds)
            case ResetBefore():
                raise Reset
            case _:
                pass
        return None

    async def _after(
        self, request: web.Request, hit: Fault | None, envelope: etree._Element, kind: str
    ) -> web.StreamResponse:
        if isinstance(hit, UnknownValue | ExtraElement | NilLists):
            hit.alter(envelope)
        body = serialize(envelope)
        match hit:
            case AnswerLost():
                raise Reset
            case HtmlError(after=True):
                return html_error(hit)
            case Hang(seconds, after=True):
                await asyncio.sleep(seconds)
            case Truncated(fraction):
                body = body[: int(len(body) * fraction)]
            case Rewrite(old, new):
                body = body.replace(old, new)
            case SlowDrip(chunk, pause):
                return await drip(request, body, kind, chunk, pause)
            case _:
                pass
        return web.Response(body=body, headers={"Content-Type": kind})

    def _note(self, name: str, body: bytes, hit: Fault | None) -> Call:
        call = Call(name, self._clock(), body, hit)
        self.calls.append(call)
        return call


def _basic(header: str) -> tuple[str, str]:
    scheme, _, rest = header.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        login, _, password = base64.b64decode(rest, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return login, password


def _soap_fault(code: str, text: str) -> web.Response:
    return web.Response(status=500, body=fault(code, text), headers={"Content-Type": _XML})


def _deserialization(error: MalformedRequest) -> web.Response:
    return _soap_fault(
        "a:DeserializationFailed",
        "The formatter threw an exception while trying to deserialize the message: "
        f"There was an error while trying to deserialize parameter. {error}",
    )
