"""Asking for discussions: which lists, with which filters, and how their answers are joined.

The rule: a filter always carries explicit dates and an explicit list of statuses, because the
service fills in narrower ones by itself where they are missing (seen in 2019: closed discussions
and those older than three weeks silently left out).

Two shapes. Up to 2019 there are three lists, one for each kind. Since 2020 there is one list,
whose items do not say their kind: the list of everything is asked first, so that a kind we have
no name for still shows, and then, only if there is anything, one list for each kind, for its ids.

One list that fails for good (no right to it, refused, broken) does not hide the others: it is a
fault under the key "" and the rest is listed. A passing failure raises: the same sweep may work
in a minute, and half an answer taken for a whole one is how messages get lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from mailbridge.domain.discussion import Discussion, DiscussionKind, Status
from mailbridge.marketplace.cdiscount.client import SoapClient
from mailbridge.marketplace.cdiscount.mapping import Context, listing
from mailbridge.marketplace.cdiscount.reading import Node
from mailbridge.marketplace.cdiscount.times import filter_bounds
from mailbridge.marketplace.port import (
    UNNAMED,
    CredentialsError,
    Listing,
    MarketplaceError,
    TransientError,
    Window,
)

__all__ = ["again", "changed", "of_orders"]

_ORDERS_AT_ONCE = 100
_SPANS = 8
_MARGIN = timedelta(minutes=1)
_EVERYTHING = ["All"]
_LIFE = timedelta(days=3 * 365)
"""How far back discussions of an order are looked for: past the two years of the warranty."""


@dataclass(frozen=True, slots=True)
class _List:
    """One list operation and the names its request and answer use."""

    operation: str
    filter: str
    items: tuple[str, str]
    kind: DiscussionKind | None
    type: str = ""
    """DiscussionType, for the one list of 2020."""


_THREE = (
    _List(
        "GetOrderClaimList", "orderClaimFilter", ("OrderClaimList", "OrderClaim"),
        DiscussionKind.CLAIM,
    ),
    _List(
        "GetOrderQuestionList", "orderQuestionFilter", ("OrderQuestionList", "OrderQuestion"),
        DiscussionKind.ORDER_QUESTION,
    ),
    _List(
        "GetOfferQuestionList", "offerQuestionFilter", ("OfferQuestionList", "OfferQuestion"),
        DiscussionKind.OFFER_QUESTION,
    ),
)  # fmt: skip


def _one(kind: DiscussionKind | None, type_: str) -> _List:
    return _List(
        "GetDiscussionList", "discussionFilter", ("DiscussionList", "Discussion"), kind, type_
    )


_ALL = _one(None, "All")
# Arbitration is a claim that Cdiscount decides. Later ones win.
_BY_TYPE = (
    _one(DiscussionKind.OFFER_QUESTION, "Offer"),
    _one(DiscussionKind.CLAIM, "Arbitration"),
    _one(DiscussionKind.CLAIM, "Claim"),
)

Filter = Mapping[str, Any]


async def changed(client: SoapClient, window: Window) -> Listing:
    """All discussions changed in the window."""
    filter_ = _dates("Modification", window.begin, window.end)
    statuses = _statuses(window.statuses)
    if (await client.contract()).has_discussion_list:
        return await _one_list(client, filter_, statuses)
    return _join(await asyncio.gather(*(_ask(client, one, filter_, statuses) for one in _THREE)))


async def again(client: SoapClient, known: Sequence[Discussion]) -> Listing:
    """These discussions as they stand now, whatever their status."""
    wanted = {one.id for one in known}
    if (await client.contract()).has_discussion_list:
        parts = await asyncio.gather(
            *(
                _settled(_one_list(client, span, _EVERYTHING))
                for span in _again_filters(known, True)
            )
        )
    else:
        calls = [
            _ask(client, one, filter_, _EVERYTHING)
            for one in _THREE
            for filter_ in _again_filters(
                [k for k in known if k.kind is one.kind],
                one.kind is not DiscussionKind.OFFER_QUESTION,
            )
        ]
        parts = await asyncio.gather(*calls)
    found = _join(parts)
    return Listing(
        tuple(one for one in found.discussions if one.id in wanted),
        {key: words for key, words in found.faults.items() if key in ("", UNNAMED, *wanted)},
    )


async def of_orders(client: SoapClient, numbers: Sequence[str], now: datetime) -> Listing:
    """All discussions about these orders, whatever their status."""
    wanted = sorted(set(filter(None, numbers)))
    dates = _dates("Creation", now - _LIFE, now + _MARGIN)
    filters = [
        {**dates, "OrderNumberList": {"string": wanted[start : start + _ORDERS_AT_ONCE]}}
        for start in range(0, len(wanted), _ORDERS_AT_ONCE)
    ]
    if (await client.contract()).has_discussion_list:
        calls = [_settled(_one_list(client, filter_, _EVERYTHING)) for filter_ in filters]
    else:
        by_order = [one for one in _THREE if one.kind is not DiscussionKind.OFFER_QUESTION]
        calls = [_ask(client, one, each, _EVERYTHING) for one in by_order for each in filters]
    found = _join(await asyncio.gather(*calls))
    # A filter that the service did not obey would show the whole shop's.
    return Listing(
        tuple(one for one in found.discussions if one.order_number in wanted), found.faults
    )


async def _one_list(client: SoapClient, filter_: Filter, statuses: list[str]) -> Listing:
    everything = await _read(client, _ALL, filter_, statuses)
    if not everything.discussions:
        return everything
    asked = [_ask(client, one, filter_, statuses) for one in _BY_TYPE]
    answers = await asyncio.gather(*asked)
    merged = {one.id: one for one in everything.discussions}
    for answer in answers:
        if isinstance(answer, Listing):
            # The second reading is newer, and it was read as what it is.
            merged.update((one.id, one) for one in answer.discussions)
    faults = dict(everything.faults)
    refused = [answer for answer in answers if isinstance(answer, MarketplaceError)]
    if refused:
        _add(faults, "", f"GetDiscussionList by type: {refused[0]}")
    return Listing(tuple(merged.values()), faults)


async def _ask(
    client: SoapClient, one: _List, filter_: Filter, statuses: list[str]
) -> Listing | MarketplaceError:
    return await _settled(_read(client, one, filter_, statuses))


async def _settled(reading: Awaitable[Listing]) -> Listing | MarketplaceError:
    """The listing, or the error that stands for it for good. Passing errors raise."""
    try:
        return await reading
    except (TransientError, CredentialsError):
        raise
    except MarketplaceError as error:
        return error


async def _read(client: SoapClient, one: _List, filter_: Filter, statuses: list[str]) -> Listing:
    def take(result: Node, context: Context) -> Listing:
        return listing(result, one.items, one.kind, context)

    asked = {**filter_, "StatusList": {"DiscussionStateFilter": statuses}}
    if one.type:
        asked["DiscussionType"] = one.type
    return await client.read(one.operation, take, **{one.filter: asked})


def _join(parts: Iterable[Listing | MarketplaceError]) -> Listing:
    found: dict[str, Discussion] = {}
    faults: dict[str, str] = {}
    errors: list[MarketplaceError] = []
    worked = False
    for part in parts:
        if isinstance(part, MarketplaceError):
            errors.append(part)
            continue
        worked = True
        found.update((one.id, one) for one in part.discussions)
        for key, words in part.faults.items():
            _add(faults, key, words)
    if errors and not worked:
        raise errors[0]
    for error in errors:
        _add(faults, "", str(error))
    return Listing(tuple(found.values()), faults)


def _add(faults: dict[str, str], key: str, words: str) -> None:
    if key not in faults:
        faults[key] = words
    elif words not in faults[key]:
        faults[key] += f"; {words}"


def _dates(which: str, begin: datetime, end: datetime) -> dict[str, Any]:
    low, high = filter_bounds(begin, end)
    return {f"Begin{which}Date": low.isoformat(), f"End{which}Date": high.isoformat()}


def _statuses(wanted: frozenset[Status]) -> list[str]:
    if not wanted or {Status.OPEN, Status.CLOSED} <= wanted:
        return _EVERYTHING
    names = {Status.OPEN: "Open", Status.CLOSED: "Closed", Status.UNKNOWN: "NotProcessed"}
    return [name for status, name in names.items() if status in wanted]


def _again_filters(known: Sequence[Discussion], by_order: bool) -> list[dict[str, Any]]:
    """Filters that find these discussions by date of creation.

    By order number too, where there is one and the list has such a filter. Not by product: the
    one recording in which messages were missing from an answer was made with a filter by EAN.
    """
    with_order = [one for one in known if by_order and one.order_number]
    filters = []
    for start in range(0, len(with_order), _ORDERS_AT_ONCE):
        group = with_order[start : start + _ORDERS_AT_ONCE]
        times = [one.created_at for one in group]
        numbers = sorted({one.order_number for one in group if one.order_number})
        dates = _dates("Creation", min(times) - _MARGIN, max(times) + _MARGIN)
        filters.append({**dates, "OrderNumberList": {"string": numbers}})
    rest = sorted(one.created_at for one in known if not (by_order and one.order_number))
    for begin, end in _spans(rest, _SPANS):
        filters.append(_dates("Creation", begin - _MARGIN, end + _MARGIN))
    return filters


def _spans(times: Sequence[datetime], most: int) -> list[tuple[datetime, datetime]]:
    """At most `most` spans that hold all `times` (sorted), parted at the widest gaps."""
    if not times:
        return []
    gaps = sorted(range(1, len(times)), key=lambda i: times[i] - times[i - 1], reverse=True)
    cuts = [0, *sorted(gaps[: most - 1]), len(times)]
    return [(times[a], times[b - 1]) for a, b in pairwise(cuts)]
