"""HTTP to a marketplace: one call with one time limit and one size limit, and nothing else.

The rule: whatever the other side does (drip, flood, hang, hand out a web page), a call ends
within its time with an `Answer` or an error of the port, and `TransientError.sent` is False only
if the connection was never made. Bodies stay as they came off the wire, still compressed: the
adapters unpack (`inflate`) and parse them in a thread. Calling again is `patience`'s business.
"""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any

import httpx

from mailbridge import __version__
from mailbridge.marketplace.port import ContractError, TransientError

__all__ = ["SIZE_LIMIT", "Answer", "Wire", "inflate"]

SIZE_LIMIT = 64 * 1024 * 1024
"""Octets of one answer, packed or not: some 20,000 discussions with their messages."""

_CONNECT = 20.0
_LONGEST_WAIT = 3600.0
"""Who asks us to wait for longer is asked again after an hour: years were meant by nobody."""
_PAGING = frozenset({"next", "prev", "previous", "first", "last"})


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, not yet looked into. `body` is as sent, see `encoding`."""

    status: int
    content_type: str
    encoding: str
    body: bytes
    date: datetime | None
    """The service's own clock (HTTP Date), aware."""
    retry_after: float | None
    """Seconds, an hour at most."""
    next_url: str = ""
    """The Link header's `rel="next"` (RFC 8288), whole or relative; empty without one."""
    linked: bool = False
    """Whether a Link header spoke of pages: gateways add links of their own."""

    def __repr__(self) -> str:
        return f"Answer({self.status}, {self.content_type!r}, {len(self.body)} octets)"

    @property
    def is_xml(self) -> bool:
        """Whether it claims to be XML; STS sends its XML as text/plain."""
        return self.content_type in ("text/xml", "application/xml", "application/soap+xml")

    @property
    def is_json(self) -> bool:
        """Whether it claims to be JSON, problem details (RFC 9457) included."""
        return self.content_type == "application/json" or self.content_type.endswith("+json")


class _Phase:
    """Watches httpcore's trace for the stretch in which nothing can have been sent yet."""

    def __init__(self) -> None:
        self.connecting = False

    async def __call__(self, event: str, info: Any) -> None:
        if event == "connection.connect_tcp.started":
            self.connecting = True
        elif event.endswith("send_request_headers.started"):
            self.connecting = False


class Wire:
    """A pool of connections to the service. `timeout` is seconds for one whole call."""

    def __init__(
        self,
        *,
        timeout: float,
        size_limit: int = SIZE_LIMIT,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._timeout = timeout
        self.size_limit = size_limit
        self._client = httpx.AsyncClient(
            # Redirects are never followed: they would carry the token or password elsewhere.
            follow_redirects=False,
            timeout=httpx.Timeout(timeout, connect=min(_CONNECT, timeout)),
            limits=httpx.Limits(max_connections=8, max_keepalive_connections=4),
            headers={"User-Agent": f"mailbridge/{__version__}", "Accept-Encoding": "gzip"},
            transport=transport,
            verify=_authorities(),
        )

    async def get(self, url: str, *, auth: httpx.Auth | None = None) -> Answer:
        """Fetch a URL."""
        return await self._call(self._client.build_request("GET", url), auth)

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str], content: bytes | None = None
    ) -> Answer:
        """Make any other call; `content` is sent as it stands."""
        request = self._client.build_request(method, url, content=content, headers=headers)
        return await self._call(request, None)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def _call(self, request: httpx.Request, auth: httpx.Auth | None) -> Answer:
        phase = _Phase()
        request.extensions = {**request.extensions, "trace": phase}
        host = request.url.host
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._client.send(request, auth=auth, stream=True)
                try:
                    return _answer(response, await self._body(response))
                finally:
                    await response.aclose()
        except TimeoutError:
            raise TransientError(
                f"{host} did not answer within {self._timeout:g} s", sent=not phase.connecting
            ) from None
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise TransientError(
                f"no connection to {host} ({_reason(error)})", sent=False
            ) from None
        except httpx.TransportError as error:
            raise TransientError(
                f"the connection to {host} broke ({type(error).__name__})",
                sent=not phase.connecting,
            ) from None

    async def _body(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > self.size_limit:
                raise ContractError(f"the answer is longer than {self.size_limit} octets")
        return bytes(body)


@cache
def _authorities() -> ssl.SSLContext:
    """Certificates and host names are verified. Read once for all accounts: it takes 30 ms."""
    return httpx.create_ssl_context()


def inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """The body with its Content-Encoding undone; ContractError past `limit` octets.

    Stops at the limit instead of measuring afterwards: 200 kB of gzip can hold 200 MB.
    """
    match encoding.strip().lower():
        case "" | "identity":
            return body
        case "gzip" | "x-gzip" | "deflate":
            pass
        case _:
            raise ContractError("the answer has a Content-Encoding that was not asked for")
    unpack = zlib.decompressobj(wbits=47)  # zlib or gzip, told by its first octets
    try:
        result = unpack.decompress(body, limit + 1)
    except zlib.error:
        raise ContractError("the answer's compression is broken") from None
    if len(result) > limit:
        raise ContractError(f"the answer is longer than {limit} octets once unpacked")
    if not unpack.eof:
        raise ContractError("the answer's compression ends too early")
    return result


def _answer(response: httpx.Response, body: bytes) -> Answer:
    date = _http_date(response.headers.get("Date", ""))
    links = _links(response)
    return Answer(
        status=response.status_code,
        content_type=response.headers.get("Content-Type", "").partition(";")[0].strip().lower(),
        encoding=response.headers.get("Content-Encoding", ""),
        body=body,
        date=date,
        retry_after=_retry_after(response.headers.get("Retry-After", ""), date),
        next_url=links.get("next", ""),
        linked=bool(_PAGING & links.keys()),
    )


def _links(response: httpx.Response) -> dict[str, str]:
    """Relation in lower case -> target; one link may bear several (RFC 8288 section 3.3)."""
    return {
        relation: link.get("url", "")
        for link in response.links.values()
        for relation in link.get("rel", "").lower().split()
    }


def _reason(error: httpx.TransportError) -> str:
    """A network error in its own words: they name hosts and certificates, never a body."""
    return str(error)[:150] or type(error).__name__


def _http_date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)


def _retry_after(text: str, now: datetime | None) -> float | None:
    """RFC 9110 section 10.2.3: seconds, or a date, which is read by the sender's own clock."""
    if text.strip().isascii() and text.strip().isdigit():
        return min(float(text), _LONGEST_WAIT)
    date = _http_date(text)
    if date is None or now is None:
        return None
    return min(max(0.0, (date - now).total_seconds()), _LONGEST_WAIT)
