"""One call of the API from beginning to end: token, seller, HTTP, verdict, values.

The rule: a call is made again only where that is safe. Any call, once, when the service refused
its token (then it did nothing); and a call that only reads, a few times with pauses. What an
answer says is read in a thread, whole. The token goes to the configured address only: of a
`next` link nothing but its query is taken.

Which paths there are and what their answers mean is the business of the modules beside this.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, NoReturn, TypeVar
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from mailbridge.marketplace.octopia.errors import TokenRefused, answer_error
from mailbridge.marketplace.patience import NotAskedError, nothing_asked, patiently
from mailbridge.marketplace.port import ContractError, CredentialsError, RefusedError
from mailbridge.marketplace.token import Token, TokenSource
from mailbridge.marketplace.wire import Answer, Wire, inflate

__all__ = ["AT_ONCE", "PAGE", "RestClient", "path"]

PAGE = 50
"""Items asked for at once: a default that was seen, so surely within the limit."""
_MOST_PAGES = 2_000
AT_ONCE = 6
"""Calls of one account under way at the same time."""

T = TypeVar("T")
Query = Mapping[str, str]
NO_QUERY: Query = {}


def path(*segments: str) -> str:
    """`/a/b`, each segment quoted whole.

    RefusedError for one that would lead elsewhere: dots are resolved wherever they stand
    (RFC 3986 section 5.2.4), and an empty one names the whole list.
    """
    if any(segment.strip() in ("", ".", "..") for segment in segments):
        raise RefusedError("this is no identifier of the service")
    return "".join(f"/{quote(segment, safe='')}" for segment in segments)


class RestClient:
    """Calls one seller's API. `secrets` are words that no error may show."""

    def __init__(
        self,
        *,
        wire: Wire,
        tokens: TokenSource,
        api_url: str,
        seller_id: str,
        within: float,
        sleep: Callable[[float], Awaitable[None]],
        secrets: Iterable[str],
    ) -> None:
        self._wire = wire
        self._tokens = tokens
        self._url = api_url.rstrip("/")
        self._seller_id = seller_id
        self._within = within
        self._sleep = sleep
        self._secrets = tuple(secrets)
        self._gate = asyncio.Semaphore(AT_ONCE)

    async def pause(self, seconds: float) -> None:
        """Do nothing for so long."""
        await self._sleep(seconds)

    async def read(self, where: str, take: Callable[[object], T], query: Query = NO_QUERY) -> T:
        """GET; `take` turns the JSON into a value, in a thread. Repeated as `patience` says.

        Raises ProblemError with status 404 where there is no such thing.
        """

        async def once() -> T:
            answer = await self._answered("GET", where, query, None)
            return await asyncio.to_thread(lambda: take(_json(answer, self._wire.size_limit)))

        return await patiently(once, within=self._within, sleep=self._sleep)

    async def items(
        self, where: str, query: Query = NO_QUERY, *, size: int = PAGE, sized: str = "pageSize"
    ) -> list[object]:
        """All items of a list, page after page; `sized` is its parameter for `size`, "" for none.

        A page without `next` is the last where the service names next pages at all, or where it
        is short; an empty page is, whatever it names. Raises as `read` does, and ContractError for
        pages without end.
        """
        asked = {**query, sized: str(size)} if sized else dict(query)
        if sized == "pageSize":
            asked["pageIndex"] = "1"
        found: list[object] = []
        seen: set[tuple[tuple[str, str], ...]] = set()
        before: list[object] | None = None
        linked = False
        for _ in range(_MOST_PAGES):
            seen.add(tuple(sorted(asked.items())))
            here = dict(asked)

            async def once(here: Query = here) -> tuple[Answer, list[object], int]:
                answer = await self._answered("GET", where, here, None)
                limit = self._wire.size_limit
                if answer.status == 204:
                    return answer, [], 0
                items, said = await asyncio.to_thread(lambda: _page(_json(answer, limit), where))
                return answer, items, said

            answer, items, said = await patiently(once, within=self._within, sleep=self._sleep)
            linked = linked or answer.linked
            if answer.next_url and items:
                step = dict(parse_qsl(urlsplit(answer.next_url).query))
                if "cursor" in step:
                    asked.pop("pageIndex", None)  # one says where to go on, not both
                asked = {**asked, **step}
                if tuple(sorted(asked.items())) in seen:
                    raise ContractError(f"{where}: the pages go round in a circle")
                found += items
                continue
            if items == before:  # the page number is not looked at
                break
            found += items
            full = min(size, said) if said > 0 else size
            if linked or sized != "pageSize" or len(items) < full or not items:
                break
            before = items
            asked["pageIndex"] = str(int(asked["pageIndex"]) + 1)
        else:
            raise ContractError(f"{where}: more than {_MOST_PAGES} pages")
        return found

    async def act(self, method: str, where: str, payload: object) -> dict[str, Any]:
        """Make a call with an effect, once; the object it answers with, empty if none.

        After any RefusedError or a TransientError with `sent=False` nothing was done; after a
        ContractError (a success whose body is no JSON) it may have been.
        """
        private = tuple(_texts(payload))
        # With three files it is some megabytes.
        body = await asyncio.to_thread(
            lambda: json.dumps(payload, ensure_ascii=False).encode("utf-8", "replace")
        )
        try:
            answer = await self._answered(method, where, {}, body, private)
        except NotAskedError as error:
            raise RefusedError(f"nothing was asked: {error}") from None
        data = await asyncio.to_thread(_json, answer, self._wire.size_limit)
        return data if isinstance(data, dict) else {}

    async def _answered(
        self,
        method: str,
        where: str,
        query: Query,
        body: bytes | None,
        private: tuple[str, ...] = (),
    ) -> Answer:
        """The answer of a success; anything else raises."""
        url = f"{self._url}{where}" + (f"?{urlencode(query)}" if query else "")
        with nothing_asked():
            token = await self._tokens.current()
        try:
            return await self._once(method, url, body, token, private)
        except TokenRefused:
            with nothing_asked():
                token = await self._tokens.renewed(token)
        try:
            return await self._once(method, url, body, token, private)
        except TokenRefused:
            raise CredentialsError(
                "Octopia refuses a token it has just issued (HTTP 401): check `client_id` and "
                "`api_url`"
            ) from None

    async def _once(
        self, method: str, url: str, body: bytes | None, token: Token, private: tuple[str, ...]
    ) -> Answer:
        headers = {
            "Authorization": f"Bearer {token.value}",
            "SellerId": self._seller_id,
            "Accept": "application/json",
        }
        if body is not None:
            headers["Content-Type"] = "application/json"
        async with self._gate:
            answer = await self._wire.send(method, url, headers=headers, content=body)
        # A web page says nothing of what was done, whatever its status.
        if 200 <= answer.status < 300 and _may_be_json(answer):
            return answer
        secrets = (*self._secrets, token.value, *private)
        problem = await asyncio.to_thread(_problem, answer, self._wire.size_limit)
        raise answer_error(answer.status, problem, retry_after=answer.retry_after, secrets=secrets)


def _may_be_json(answer: Answer) -> bool:
    return answer.is_json or "html" not in answer.content_type


def _json(answer: Answer, limit: int) -> object:
    """The body as JSON, amounts exact, an empty one as None; ContractError if it is none."""
    body = inflate(answer.body, answer.encoding, limit)
    if not body.strip():
        return None
    try:
        return json.loads(
            body.decode("utf-8-sig"), parse_float=Decimal, parse_constant=_no_constant
        )
    except (ValueError, RecursionError):
        raise ContractError("the answer is not JSON") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity are no JSON


def _problem(answer: Answer, limit: int) -> object:
    """The JSON of a refusal, None where it has none; an empty body says nothing, but is no page."""
    if not _may_be_json(answer):
        return None
    try:
        problem = _json(answer, limit)
    except ContractError:
        return None
    return {} if problem is None else problem


def _page(data: object, where: str) -> tuple[list[object], int]:
    """(items, what the page says it holds at most) of a list's page."""
    if isinstance(data, list):
        return data, 0
    items = data.get("items") if isinstance(data, dict) else None
    if isinstance(data, dict) and "items" in data and items is None:
        return [], 0
    if not isinstance(data, dict) or not isinstance(items, list):
        raise ContractError(f"{where}: no items in the answer")
    said = data.get("itemsPerPage")
    return items, said if isinstance(said, int) and not isinstance(said, bool) else 0


def _texts(value: object) -> Iterable[str]:
    """The longer words of a payload, which no error may repeat; never a whole file."""
    match value:
        case str():
            if 12 < len(value) <= 6_000:
                yield value
        case dict():
            for key, inner in value.items():
                if key != "attachments":
                    yield from _texts(inner)
        case list():
            for inner in value:
                yield from _texts(inner)
