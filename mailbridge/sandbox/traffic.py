"""What a simulator's door does with calls and connections, whatever is spoken there.

Calls are noted as values, answers can be cut, dripped or replaced by a page of HTML. Which fault
hits a call is `faults`' business, what an answer says the simulator's.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass
from datetime import datetime

from aiohttp import web

from mailbridge.sandbox.faults import Fault, HtmlError

__all__ = ["BOT_GUARD", "Call", "Reset", "cut", "drip", "html_error"]

BOT_GUARD = (
    "<!DOCTYPE html><html><head><title>Welcome on Cdiscount STS</title>"
    "<script>window.challenge=1</script></head><body><p>Checking your browser<br></body></html>"
)
"""What the bot guard in front of the service shows instead of an answer."""


@dataclass(slots=True)
class Call:
    """One request as it came; `performed` is False where nothing was done."""

    operation: str
    at: datetime
    body: bytes
    fault: Fault | None = None
    performed: bool = False


class Reset(Exception):
    """The connection is to be reset without an answer."""


def html_error(hit: HtmlError) -> web.Response:
    """A proxy's page with an error status."""
    headers = {} if hit.retry_after is None else {"Retry-After": str(hit.retry_after)}
    page = f"<html><head><title>{hit.status}</title></head><body><h1>{hit.status}<br></body></html>"
    return web.Response(status=hit.status, text=page, content_type="text/html", headers=headers)


def cut(request: web.Request) -> web.Response:
    """Reset the connection: RST instead of an orderly end."""
    transport = request.transport
    if transport is not None:
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response(status=500)


async def drip(
    request: web.Request, body: bytes, kind: str, chunk: int, pause: float
) -> web.StreamResponse:
    """Answer `chunk` bytes at a time, with `pause` seconds after each."""
    response = web.StreamResponse(headers={"Content-Type": kind, "Content-Length": str(len(body))})
    await response.prepare(request)
    for start in range(0, len(body), chunk):
        await response.write(body[start : start + chunk])
        await asyncio.sleep(pause)
    await response.write_eof()
    return response
