"""Which calls find discussions: the list by window or order, then each one with its messages.

The rule: always explicit dates, in windows the service allows, a little wider than asked, because
`updatedAt` was seen to lie before `createdAt`. The list carries no messages, so each discussion
is read by itself; one that can't be read is a fault and hides no other. A passing failure or a
missing right of one is a fault too, unless so many fail in a row that it is the service that
fails. A service that asks to wait a little is waited for: what was read so far is worth it.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import structlog

from mailbridge.domain.discussion import AuthorKind, Discussion, Status
from mailbridge.domain.wording import clean_line
from mailbridge.marketplace.octopia import mapping, models
from mailbridge.marketplace.octopia.client import AT_ONCE, RestClient, path
from mailbridge.marketplace.octopia.errors import ProblemError
from mailbridge.marketplace.octopia.typologies import Typologies
from mailbridge.marketplace.port import (
    UNNAMED,
    ContractError,
    CredentialsError,
    Listing,
    MarketplaceError,
    NotAuthorizedError,
    RefusedError,
    TransientError,
    Window,
)

__all__ = ["Discussions", "each", "rest_time", "windows"]

_SPAN = timedelta(days=179)
"""Six months are the most a search may span; the shortest six months have 181 days."""
_EDGE = timedelta(minutes=1)
_OLDEST = timedelta(days=3 * 365)
"""Nobody asks about an older order; each half year is one more call."""
_MOST_FAILURES = 5
"""In a row. Single ones that always fail must not stop a list of a thousand for ever."""
_WORTH_WAITING = 120.0
"""Seconds: the longest Retry-After that many readings wait for. Given up, they would all be
asked again, meet the same limit at the same place, and never come to their end."""
_WAITS = 3
_LONGEST_REST = 1800.0
"""Seconds that one list's readings wait altogether: a sweep must show signs of life."""
_REMEMBERED = 50_000
_SOMETHING = ("",)
"""The names of files nobody could ask about."""
_HEX_ID = re.compile(r"[0-9a-f]{24}")

A = TypeVar("A")
T = TypeVar("T")

log = structlog.get_logger(__name__)


def rest_time(moment: datetime) -> str:
    """A time as the API's filters take it, to the second below."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def windows(begin: datetime, end: datetime) -> list[dict[str, str]]:
    """[`begin`, `end`] and a minute around it as filters, each of a span the service takes."""
    low, last = begin - _EDGE, end + _EDGE
    found = []
    while low < last:
        high = min(low + _SPAN, last)
        # The upper bound's own second is within: the next window begins with it again.
        found.append(
            {
                "updatedAtMin": rest_time(low),
                "updatedAtMax": rest_time(high + timedelta(seconds=1)),
            }
        )
        low = high
    return found


class Discussions:
    """Reads the discussions of one seller. `channels` empty: those of every sales channel."""

    def __init__(
        self,
        client: RestClient,
        typologies: Typologies,
        *,
        channels: Collection[str],
        clock: Callable[[], datetime],
    ) -> None:
        self._client = client
        self._typologies = typologies
        self._channels = frozenset(channel.casefold() for channel in channels)
        self._only = {"salesChannel": next(iter(channels))} if len(channels) == 1 else {}
        self._clock = clock
        self._files: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._numbers: OrderedDict[str, str] = OrderedDict()

    async def changed(self, window: Window) -> Listing:
        """Those changed in the window, with their messages."""
        wanted = {**self._only, **_is_open(window.statuses)}
        found = await self._listed(
            [{**dates, **wanted} for dates in windows(window.begin, window.end)]
        )
        return Listing(
            tuple(one for one in found.discussions if one.status in window.statuses), found.faults
        )

    async def of_orders(self, orders: Mapping[str, datetime]) -> Listing:
        """Those about these orders, by number and since when there can be any."""
        end = self._clock() + timedelta(hours=1)
        return await self._listed(
            [
                {"orderSellerId": number, **dates, **self._only}
                for number, begin in orders.items()
                for dates in windows(max(begin, end - _OLDEST), end)
            ]
        )

    async def again(self, ids: Sequence[str]) -> Listing:
        """These, as they stand now; those the service does not know are left out.

        A number of the older API (an account moved here) may make the service stumble: these are
        asked for last, and where all of them fail that is a fault of each, and stops nothing.
        """
        odd = [ident for ident in dict.fromkeys(ids) if ident.isdecimal()]
        own = [ident for ident in dict.fromkeys(ids) if not ident.isdecimal()]
        found = await self._whole({ident: {} for ident in own})
        if not odd:
            return found
        try:
            strange = await self._whole({ident: {} for ident in odd})
        except TransientError as error:
            if error.retry_after is not None or not error.sent:
                raise
            return Listing(found.discussions, {**found.faults, **dict.fromkeys(odd, str(error))})
        return Listing(
            (*found.discussions, *strange.discussions), {**found.faults, **strange.faults}
        )

    async def whole(self, ident: str) -> models.Discussion | None:
        """One discussion with its messages and recipients; None where there is none."""
        return await self._one(ident, {})

    async def number(self, ident: str) -> str:
        """What the sales channel calls a discussion; empty where that is unknown."""
        if ident not in self._numbers:
            await self.whole(ident)
        return self._numbers.get(ident, "")

    async def _listed(self, queries: Sequence[dict[str, str]]) -> Listing:
        listed: dict[str, dict[str, Any]] = {}
        faults: dict[str, str] = {}
        for query in queries:
            for item in await self._client.items("/discussions", query):
                try:
                    told = models.read(models.Listed, item, "a listed discussion")
                except ContractError as error:
                    faults[_name_of(item)] = str(error)
                    continue
                if self._is_ours(told.sales_channel) and isinstance(item, dict):
                    listed[told.discussion_id] = item
        found = await self._whole(listed)
        missing = listed.keys() - {one.id for one in found.discussions} - found.faults.keys()
        faults |= dict.fromkeys(missing, "is listed, but not found")
        return Listing(found.discussions, {**faults, **found.faults})

    async def _whole(self, listed: dict[str, dict[str, Any]]) -> Listing:
        """Each with its messages; what the list says fills what the whole does not."""
        outcomes = await each(listed.items(), self._complete, self._client.pause)
        read: list[models.Discussion] = []
        files: dict[str, Sequence[str]] = {}
        faults: dict[str, str] = {}
        for ident, outcome in zip(listed, outcomes, strict=True):
            if isinstance(outcome, MarketplaceError):
                faults[ident] = str(outcome)
            elif outcome is not None:
                one, names = outcome
                read.append(one)
                files |= names
        topics = await self._typologies.names(sorted({one.sales_channel for one in read}))

        def mapped() -> list[Discussion]:
            return [mapping.discussion(one, topics[one.sales_channel], files) for one in read]

        return Listing(tuple(await asyncio.to_thread(mapped)), faults)

    async def _complete(
        self, listed: tuple[str, dict[str, Any]]
    ) -> tuple[models.Discussion, dict[str, Sequence[str]]] | None:
        """One discussion, and the names of files that its messages do not say themselves."""
        ident, told = listed
        whole = await self._one(ident, told)
        return None if whole is None else (whole, await self._unnamed(whole))

    async def _one(self, ident: str, told: dict[str, Any]) -> models.Discussion | None:
        where = f"discussion {ident}"

        def take(data: object) -> models.Discussion:
            if isinstance(data, dict):
                said = {key: value for key, value in data.items() if value is not None}
                data = {**told, **said}
            return models.read(models.Discussion, data, where)

        try:
            whole = await self._client.read(path("discussions", ident), take)
        except ProblemError as error:
            # An id of another numbering may be called malformed instead of unknown.
            odd = error.status in (400, 422) and not _HEX_ID.fullmatch(ident)
            if error.status in (404, 410) or odd:
                return None
            raise
        _remember(self._numbers, ident, whole.sales_channel_external_reference.strip())
        return whole if self._is_ours(whole.sales_channel) else None

    async def _unnamed(self, whole: models.Discussion) -> dict[str, Sequence[str]]:
        """The names of the files of messages that do not say whether they have any.

        Asked once for each message, and not for the seller's own. Where that can't be known
        (silence, no right to it, an answer too long to read) there may be one: a file without a
        name. The words don't wait for it.
        """
        found: dict[str, Sequence[str]] = {}
        for message in whole.messages:
            if message.attachments is not None:
                continue
            if mapping.author_kind(message.sender, whole) is AuthorKind.SELLER:
                continue
            names = self._files.get(message.message_id)
            if names is None:
                try:
                    files = await self.attachments(
                        message.message_id, whole.sales_channel_external_reference.strip()
                    )
                    names = tuple(
                        mapping.file_name(f.attachment_name, f.file_format) for f in files
                    )
                except (RefusedError, ContractError, NotAuthorizedError) as error:
                    log.warning("attachments_unread", message=message.message_id, error=str(error))
                    gone = isinstance(error, ProblemError) and error.status in (404, 410)
                    names = () if gone else _SOMETHING
                except (TransientError, CredentialsError) as error:
                    log.warning("attachments_unread", message=message.message_id, error=str(error))
                    found[message.message_id] = _SOMETHING
                    continue
                _remember(self._files, message.message_id, names)
            found[message.message_id] = names
        return found

    async def attachments(self, message_id: str, number: str) -> list[models.Attachment]:
        """The files of a message, with their contents; `number` is the sales channel's."""
        query = {"messageId": message_id}
        if number:
            query["salesChannelExternalReference"] = number
        where = f"a file of message {message_id}"
        items = await self._client.items("/attachments", query)
        return [models.read(models.Attachment, item, where) for item in items]

    def _is_ours(self, channel: str) -> bool:
        # One that is not said is no other's.
        return not (self._channels and channel.strip()) or (
            channel.strip().casefold() in self._channels
        )


def _name_of(item: object) -> str:
    """What a listed discussion that can't be read is called: the others of its list were seen."""
    ident = item.get("discussionId") if isinstance(item, dict) else None
    return (clean_line(ident, 64) if isinstance(ident, str) else "") or UNNAMED


def _is_open(statuses: frozenset[Status]) -> dict[str, str]:
    if Status.CLOSED not in statuses:
        return {"isOpen": "true"}
    return {"isOpen": "false"} if statuses == {Status.CLOSED} else {}


def _remember(book: OrderedDict[str, Any], key: str, value: object) -> None:
    book[key] = value
    book.move_to_end(key)
    while len(book) > _REMEMBERED:
        book.popitem(last=False)


async def each(
    things: Iterable[A],
    call: Callable[[A], Awaitable[T]],
    pause: Callable[[float], Awaitable[None]],
) -> list[T | MarketplaceError]:
    """What the call gave for each thing, in their order, or the error that concerns it alone.

    A sign-in that is missing concerns them all, and so do many failures in a row: raised.
    """
    every = list(things)
    outcomes: dict[int, T | MarketplaceError] = {}
    waiting = iter(enumerate(every))
    failures = 0
    rested = 0.0

    async def waited_for(thing: A) -> T:
        nonlocal rested
        for _ in range(_WAITS):
            try:
                return await call(thing)
            except TransientError as error:
                asked = error.retry_after
                if asked is None or asked > _WORTH_WAITING or len(every) == 1:
                    raise
                rested += asked / AT_ONCE
                if rested > _LONGEST_REST:
                    raise
                await pause(asked)
        return await call(thing)

    async def work() -> None:
        nonlocal failures
        for place, thing in waiting:
            try:
                outcomes[place] = await waited_for(thing)
            except (ContractError, RefusedError) as error:
                outcomes[place] = error
            except (TransientError, NotAuthorizedError) as error:
                failures += 1
                if failures >= min(_MOST_FAILURES, len(every)):
                    raise
                outcomes[place] = error
                continue
            failures = 0

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE, len(every))):
                group.create_task(work())
    except* MarketplaceError as errors:
        raise errors.exceptions[0] from None
    return [outcomes[place] for place in range(len(every))]
