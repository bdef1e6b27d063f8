"""The Octopia Seller API on loopback: token endpoint and REST over real HTTP.

This file holds the sockets, looks at who asks, and carries out faults. What a call means is in
`discussions` and `money`, what the state is in the books.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Middleware

from mailbridge.sandbox.books import Books, TokenState
from mailbridge.sandbox.clock import Clock
from mailbridge.sandbox.faults import (
    GET_TOKEN,
    AnswerLost,
    Fault,
    FaultPlan,
    Hang,
    HtmlError,
    HtmlPage,
    RawAnswer,
    ResetBefore,
    Rewrite,
    SlowDrip,
    Truncated,
)
from mailbridge.sandbox.octopia.asking import Answer, Asked, Handler, Json, Problem
from mailbridge.sandbox.octopia.discussions import DiscussionCalls, SentMessage
from mailbridge.sandbox.octopia.faulting import altered, problem_of
from mailbridge.sandbox.octopia.money import OrderCalls
from mailbridge.sandbox.octopia.requests import RequestDesk
from mailbridge.sandbox.octopia.rules import Rules
from mailbridge.sandbox.octopia.tokens import TokenDesk
from mailbridge.sandbox.traffic import BOT_GUARD, Call, Reset, cut, drip, html_error

__all__ = ["CALL", "OctopiaSimulator"]

_TOKEN = "/auth/realms/maas/protocol/openid-connect/token"  # noqa: S105 - a path
_API = "/seller/v2"
_PROBLEM = "application/problem+json; charset=utf-8"
_JSON = "application/json; charset=utf-8"

CALL = web.RequestKey("call", Call)
"""Where a middleware finds, once the request is answered, what was noted of it."""


class OctopiaSimulator:
    """The API for one seller. Use as `async with`; may be stopped and started again.

    Restarted, it keeps its port. Faults are queued by the names of operations in the contract
    (`sendMessage`), or GET_TOKEN.
    """

    def __init__(
        self,
        books: Books,
        *,
        rules: Rules | None = None,
        seller_id: str = "98979",
        clock: Clock | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        """`books` may be those of another simulator: then both show the same marketplace."""
        self.books = books
        self.rules = rules or Rules()
        self.seller_id = seller_id
        self.faults = FaultPlan(books.rng)
        self.calls: list[Call] = []
        """Every request since the start, tokens included, oldest first."""
        self.sent: list[SentMessage] = []
        """Every message taken from the seller, oldest first."""
        self.middlewares: list[Middleware] = []
        """Looked at when it starts: a test may watch every request and answer."""
        self.tokens = TokenDesk(clock or books.clock, books.rng, self.rules)
        self.requests = RequestDesk(books, self.rules)
        self._clock = clock or books.clock
        self._host = host
        self._port = 0
        self._runner: web.AppRunner | None = None

    # --- where it is -------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The port; 0 before the first start."""
        return self._port

    @property
    def origin(self) -> str:
        """Scheme, host and port; in the real world token and API have one each."""
        return f"http://{self._host}:{self._port}"

    @property
    def token_url(self) -> str:
        """Where tokens come from."""
        return self.origin + _TOKEN

    @property
    def api_url(self) -> str:
        """What stands before the path of each call, without a slash at its end."""
        return self.origin + _API

    @property
    def client_id(self) -> str:
        """The client id: the seller's API login at the older door."""
        return self.books.login

    @property
    def client_secret(self) -> str:
        """The client's secret: the password at the older door."""
        return self.books.password

    def performed(self, operation: str) -> int:
        """How often the operation was really carried out."""
        return sum(call.performed for call in self.calls if call.operation == operation)

    # --- life --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen; raises OSError if the port of an earlier start was taken meanwhile."""
        app = web.Application(client_max_size=16 * 1024 * 1024, middlewares=self.middlewares)
        app.router.add_post(_TOKEN, self._token)
        for method, path, operation, handler in self._routes():
            app.router.add_route(method, _API + path, self._door(operation, handler))
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

    async def __aenter__(self) -> OctopiaSimulator:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def _routes(self) -> list[tuple[str, str, str, Handler]]:
        talk = DiscussionCalls(self.books, self.rules, self.seller_id, self.sent)
        money = OrderCalls(self.books, self.rules, self.seller_id, self.requests)
        order, gestures = "/orders/{orderId}", "/order-commercial-gesture-requests"
        cancellations = "/order-cancellation-requests"
        return [
            ("GET", "/discussions", "listDiscussions", talk.listed),
            ("POST", "/discussions", "openDiscussion", talk.open),
            ("GET", "/discussions/{discussionId}", "getDiscussion", talk.get),
            ("PATCH", "/discussions/{discussionId}", "changeDiscussion", talk.change),
            ("POST", "/messages", "sendMessage", talk.send),
            ("PATCH", "/messages/{messageId}", "markMessage", talk.mark),
            ("GET", "/attachments", "listAttachments", talk.attachments),
            ("GET", "/typologies", "listTypologies", talk.typologies),
            (
                "GET",
                "/sales-channel-configurations/{salesChannelId}",
                "getSalesChannel",
                talk.channel,
            ),
            ("GET", "/orders", "listOrders", money.listed),
            ("GET", order, "getOrder", money.get),
            (
                "GET",
                f"{order}/commercial-gestures-available-amounts",
                "getGestureAmount",
                money.gesture_amount,
            ),
            ("GET", "/cancellation-reasons", "listCancellationReasons", money.reasons),
            ("GET", cancellations, "listCancellations", money.cancellations),
            ("POST", cancellations, "requestCancellation", money.cancel),
            (
                "POST",
                "/order-partial-cancellation-requests",
                "requestPartialCancellation",
                money.cancel_lines,
            ),
            ("GET", gestures, "listGestures", money.gestures),
            ("POST", gestures, "requestGesture", money.give),
            ("GET", f"{gestures}/{{requestId}}", "getGesture", money.gesture),
            ("GET", "/sellers", "getSeller", money.seller),
        ]

    # --- endpoints ---------------------------------------------------------------------------

    async def _token(self, request: web.Request) -> web.StreamResponse:
        hit = self.faults.take(GET_TOKEN)
        call = self._note(request, GET_TOKEN, b"", hit)
        form = await request.post()
        try:
            early = await self._before(hit)
            if early is not None:
                return early
            wait = self.tokens.wait()
            if wait:
                headers = {"Retry-After": str(wait)}
                raise Problem(429, "Too Many Requests", headers=headers)
            if form.get("grant_type") != "client_credentials":
                return _oauth(400, "unsupported_grant_type", "Unsupported grant_type")
            if (form.get("client_id"), form.get("client_secret")) != (
                self.client_id,
                self.client_secret,
            ):
                return _oauth(401, "unauthorized_client", "Invalid client secret")
            document: Json = {"access_token": self.tokens.issue(), "token_type": "Bearer"}
            if self.rules.tells_life:
                document["expires_in"] = int(self.rules.token_life.total_seconds())
            call.performed = True
            return await self._after(request, hit, Answer(document))
        except Problem as problem:
            return self._refused(problem)
        except Reset:
            return cut(request)

    def _door(self, operation: str, handler: Handler) -> Any:
        async def serve(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            hit = self.faults.take(operation)
            call = self._note(request, operation, body, hit)
            try:
                early = await self._before(hit)
                if early is not None:
                    return early
                self._admit(request.headers)
                asked = Asked(dict(request.match_info), dict(request.query), _parsed(request, body))
                answer = handler(asked)
                call.performed = True
                return await self._after(request, hit, answer)
            except Problem as problem:
                return self._refused(problem)
            except Reset:
                return cut(request)

        return serve

    def _admit(self, headers: Mapping[str, str]) -> None:
        if self.tokens.state(headers.get("Authorization", "")) is not TokenState.VALID:
            told = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
            raise Problem(401, "Unauthorized", "The token is missing or expired.", headers=told)
        seller = headers.get("SellerId")
        if not seller:
            raise Problem.missing("SellerId")
        if seller != self.seller_id or not self.rules.delegated:
            detail = "The client is not authorized to act for the seller."
            raise Problem(403, "Forbidden", detail)

    # --- faults ------------------------------------------------------------------------------

    async def _before(self, hit: Fault | None) -> web.StreamResponse | None:
        problem = problem_of(hit)
        if problem is not None:
            raise problem
        match hit:
            case HtmlError(after=False):
                return html_error(hit)
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
        self, request: web.Request, hit: Fault | None, answer: Answer
    ) -> web.StreamResponse:
        headers = _links(self.origin, request, answer)
        body = b""
        if answer.document is not None:
            headers["Content-Type"] = _JSON
            document = altered(answer.document, hit)
            body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
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
            case SlowDrip(chunk, pause) if body:
                return await drip(request, body, _JSON, chunk, pause)
            case _:
                pass
        return web.Response(body=body, status=answer.status, headers=headers)

    def _refused(self, problem: Problem) -> web.Response:
        document = problem.document(f"00-{len(self.calls):032x}-01")
        return web.Response(
            body=json.dumps(document, ensure_ascii=False).encode(),
            status=problem.status,
            headers={**problem.headers, "Content-Type": _PROBLEM},
        )

    def _note(self, request: web.Request, name: str, body: bytes, hit: Fault | None) -> Call:
        call = Call(name, self._clock(), body, hit)
        self.calls.append(call)
        request[CALL] = call
        return call


def _parsed(request: web.Request, body: bytes) -> Any:
    if request.method == "GET":
        return None
    if request.content_type != "application/json":
        raise Problem(415, "Unsupported Media Type")
    try:
        return json.loads(body)
    except ValueError:
        raise Problem.of("$", "The input is not JSON.") from None


def _links(origin: str, request: web.Request, answer: Answer) -> dict[str, str]:
    """`first` is told as well: a client must look for `next`, not for any link."""
    if answer.next is None:
        return {}
    first = request.rel_url.without_query_params("pageIndex", "cursor")
    following = request.rel_url.update_query(dict(answer.next))
    return {"Link": f'<{origin}{first}>; rel="first", <{origin}{following}>; rel="next"'}


def _oauth(status: int, error: str, words: str) -> web.Response:
    """RFC 6749 section 5.2."""
    document = {"error": error, "error_description": words}
    return web.json_response(document, status=status)
