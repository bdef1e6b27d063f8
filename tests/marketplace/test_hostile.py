"""Answers nobody foresaw: whatever comes, it is a value or an error of ours."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailbridge.domain.discussion import DiscussionKind
from mailbridge.marketplace.cdiscount import mapping
from mailbridge.marketplace.cdiscount.envelope import unwrap
from mailbridge.marketplace.cdiscount.errors import TokenRefused, fault_error
from mailbridge.marketplace.cdiscount.mapping import Context
from mailbridge.marketplace.cdiscount.reading import parse
from mailbridge.marketplace.port import ContractError, Listing, MarketplaceError
from mailbridge.marketplace.wire import inflate
from tests.marketplace.scripted import TOKEN, listed, thread

CONTEXT = Context(datetime(2019, 5, 14, tzinfo=UTC), frozenset({"maboutique"}))
GOOD = listed("GetOrderClaimList", thread(1), thread(2, status="Closed")).encode()
PIECES = st.sampled_from(
    [
        *(b"<", b">", b"&", b"/", b'"', b"\x00", b"\xff", b"&#0;", b"&#x110000;", b"]]>"),
        *(b"<![CDATA[", b"<!--", b"<?x?>", b"nil", b"9" * 30, b'i:nil="true"', b"</Message>"),
        *(b"<Id>", b"-", b"e5", "é".encode(), b"\xed\xa0\x80", b"0001-01-01T00:00:00"),
        *(b"9999-12-31T23:59:59.999", b"2019-10-27T02:30:00", b"1899-12-30T00:00:00"),
    ]
)


def read(body: bytes) -> Listing:
    node = unwrap(parse(body), "GetOrderClaimList")
    return mapping.listing(node, ("OrderClaimList", "OrderClaim"), DiscussionKind.CLAIM, CONTEXT)


@settings(max_examples=400)
@given(st.data())
def test_a_damaged_answer_is_read_or_refused(data: st.DataObject) -> None:
    body = GOOD
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(body)))
        end = min(len(body), start + data.draw(st.integers(0, 30)))
        body = body[:start] + data.draw(PIECES) + body[end:]
    with contextlib.suppress(MarketplaceError, TokenRefused):
        read(body)


@given(st.binary(max_size=300), st.sampled_from(["", "gzip", "deflate", "br"]))
def test_octets_at_random_are_refused(body: bytes, encoding: str) -> None:
    with pytest.raises(ContractError):
        parse(inflate(body, encoding, 10_000))


@given(st.text(max_size=200), st.text(max_size=20))
def test_any_words_of_a_fault_are_safe_to_show(text: str, code: str) -> None:
    shown = str(fault_error(code, f"{text} {TOKEN} {text}"))
    assert TOKEN not in shown
    assert "\n" not in shown


@pytest.mark.parametrize(
    "stamp",
    [
        "9999-12-31T23:59:59",
        "0001-01-02T00:00:00",
        "0002-01-01T00:00:00+14:00",
        "1899-12-30T00:00:00",
    ],
)
def test_times_at_the_edge_of_the_calendar(stamp: str) -> None:
    found = read(listed("GetOrderClaimList", thread(1, created=stamp), thread(2)).encode())
    assert [one.id for one in found.discussions] == ["2"]
    assert "CreationDate" in found.faults["1"]
