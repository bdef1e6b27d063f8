"""The contract of the Octopia API, held against every request and answer on the wire.

`ContractWatch` sits in the simulator as a middleware: whoever calls it, the simulator's own tests
or the adapter in a scenario, is checked on the way in, and the simulator on the way out. Answers
that a fault has made or spoiled are not looked at.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from openapi_core import Config, OpenAPI
from openapi_core.datatypes import RequestParameters
from openapi_core.exceptions import OpenAPIError
from werkzeug.datastructures import Headers, ImmutableMultiDict

from mailbridge.sandbox.octopia import OctopiaSimulator
from mailbridge.sandbox.octopia.simulator import CALL
from tests.source import ROOT

__all__ = ["CONTRACT", "ContractWatch", "contract", "operations"]

CONTRACT = ROOT / "mailbridge" / "marketplace" / "octopia" / "contract" / "openapi.yaml"


@cache
def contract() -> dict[str, Any]:
    """The description, read once; not to be changed."""
    read: dict[str, Any] = OpenAPI.from_file_path(str(CONTRACT)).spec.read_value()
    return read


@cache
def operations() -> Mapping[str, tuple[str, str]]:
    """operationId -> (method, path)."""
    return {
        operation["operationId"]: (method.upper(), path)
        for path, item in contract()["paths"].items()
        for method, operation in item.items()
        if method in {"get", "post", "patch"}
    }


@cache
def _openapi() -> OpenAPI:
    # Host and port are the simulator's: only paths count.
    spec = json.loads(json.dumps(contract()))
    spec["servers"] = [{"url": "http://simulator/seller/v2"}]
    for item in spec["paths"].values():
        if "servers" in item:
            item["servers"] = [{"url": "http://simulator"}]
    problems = Config(extra_media_type_deserializers={"application/problem+json": json.loads})
    return OpenAPI.from_dict(spec, config=problems)


class ContractWatch:
    """Collects what on the wire is not as described. Put it in before the simulator starts."""

    def __init__(self, simulator: OctopiaSimulator, *, each: int = 100) -> None:
        """`each`: how many calls of every operation are looked at; one takes about 8 ms."""
        self._each = each
        self._looked: Counter[str] = Counter()
        self.faults: list[str] = []
        self.seen: set[tuple[str, int]] = set()
        """(operation, status) of every answer that was looked at."""

        @web.middleware
        async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._watch(request, handler)

        simulator.middlewares.append(watch)

    async def _watch(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        body = await request.read()
        asked = _Request(request, body)
        answer = await handler(request)
        call = request.get(CALL)
        if call is None:
            self._fault(asked, "no such path")
            return answer
        self._looked[call.operation] += 1
        if self._looked[call.operation] > self._each:
            return answer
        if call.fault is None and isinstance(answer, web.Response):
            # The contract lets the body of what a POST made be missing, which OpenAPI can't say.
            if answer.body or answer.status not in {201, 202}:
                response = _Response(answer)
                self._judge(asked, lambda: _openapi().validate_response(asked, response))
            self.seen.add((call.operation, answer.status))
        # What the service refuses by its rules may break ours as well: that is what was tried.
        if answer.status < 400:
            self._judge(asked, lambda: _openapi().validate_request(asked))
            self._query(asked, call.operation)
        return answer

    def _judge(self, asked: _Request, validate: Callable[[], None]) -> None:
        try:
            validate()
        except OpenAPIError as error:
            causes = [str(error)]
            cause = error.__cause__
            while cause is not None:
                inner = getattr(cause, "schema_errors", ())
                causes += [str(cause), *(f"{e.json_path}: {e.message}" for e in inner)]
                cause = cause.__cause__
            self._fault(asked, "; ".join(causes))

    def _query(self, asked: _Request, operation: str) -> None:
        """OpenAPI lets parameters pass that are not described."""
        method, path = operations().get(operation, ("POST", "/auth"))
        if path not in contract()["paths"]:
            return
        shared = contract()["components"]["parameters"]
        described = contract()["paths"][path][method.lower()].get("parameters", [])
        names = {
            (shared[each["$ref"].rpartition("/")[2]] if "$ref" in each else each)["name"]
            for each in described
        }
        unknown = set(asked.parameters.query) - names
        if unknown:
            self._fault(asked, f"not described: {', '.join(sorted(unknown))}")

    def _fault(self, asked: _Request, words: str) -> None:
        self.faults.append(f"{asked.method} {asked.path}: {words}")


class _Request:
    """A request as openapi-core wants to see it."""

    def __init__(self, request: web.Request, body: bytes) -> None:
        self.host_url = "http://simulator"
        self.path = request.path
        self.method = request.method.lower()
        self.content_type = request.content_type
        self.body = body or None
        self.parameters = RequestParameters(
            query=ImmutableMultiDict(list(request.query.items())),
            header=Headers(list(request.headers.items())),
        )


class _Response:
    """An answer as openapi-core wants to see it."""

    def __init__(self, answer: web.Response) -> None:
        body = answer.body
        self.data = body if isinstance(body, bytes) else None
        self.status_code = answer.status
        self.content_type = answer.content_type if self.data else ""
        self.headers = Headers(list(answer.headers.items()))
