"""What people write for times, addresses, hosts and URLs, and what it becomes."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from mailbridge.config import kinds

DURATION: TypeAdapter[timedelta] = TypeAdapter(kinds.Duration)
EMAIL: TypeAdapter[str] = TypeAdapter(kinds.EmailAddress)
HOST: TypeAdapter[str] = TypeAdapter(kinds.Host)
URL: TypeAdapter[str] = TypeAdapter(kinds.HttpUrl)
PATH: TypeAdapter[Path] = TypeAdapter(kinds.LocalPath)


def why(adapter: TypeAdapter[Any], value: object) -> str:
    """The sentence `value` is refused with."""
    with pytest.raises(ValidationError) as refused:
        adapter.validate_python(value)
    (error,) = refused.value.errors()
    return error["msg"]


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("90s", 90),
        ("2m", 120),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        (" 28d ", 2_419_200),
        ("1w", 604_800),
        ("0s", 0),
        (45, 45),
        (0, 0),
    ],
)
def test_a_time_is_read(written: object, seconds: int) -> None:
    assert DURATION.validate_python(written) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "written",
    [
        *("", "90", "1.5h", "2 minutes", "-1m", "m", "1m1m", "30m1h", "1h30", "4000d", "٣m"),
        *(-1, 1.5, True, None, [], 10**30),
    ],
)
def test_a_time_that_is_none_is_told_the_form(written: object) -> None:
    assert 'a time such as "90s"' in why(DURATION, written)


@given(st.integers(min_value=0, max_value=3650 * 86400))
def test_a_time_written_by_us_is_read_again(seconds: int) -> None:
    value = timedelta(seconds=seconds)
    assert DURATION.validate_python(kinds.duration_text(value)) == value


def test_limits_hold_at_both_ends_and_bind_people_only() -> None:
    limited: TypeAdapter[timedelta] = TypeAdapter(
        Annotated[kinds.Duration, kinds.Between("1m", "1h")]
    )
    assert limited.validate_python("1m") == timedelta(minutes=1)
    assert limited.validate_python(3600) == timedelta(hours=1)
    assert why(limited, "59s") == "allowed: a time from 1m to 1h"
    assert why(limited, "3601s") == "allowed: a time from 1m to 1h"
    assert limited.validate_python(timedelta(seconds=1)) == timedelta(seconds=1)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("support@shop.fr", "support@shop.fr"),
        ("  Support+x@Shop.FR ", "Support+x@shop.fr"),
        ("o'neil.j@été.fr", "o'neil.j@xn--t-9fab.fr"),
        ("root@localhost", "root@localhost"),
        ("a" * 64 + "@shop.fr", "a" * 64 + "@shop.fr"),
    ],
)
def test_an_address_is_read(written: str, read: str) -> None:
    assert EMAIL.validate_python(written) == read


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("support", "one bare address"),
        ("Paul <paul@shop.fr>", "without a name"),
        ("émilie@shop.fr", "no accents"),
        ("a" * 65 + "@shop.fr", "at most 64"),
        ("a@" + "b" * 64 + ".fr", "no domain"),
        ("a@shop..fr", "no domain"),
        ("a@-shop.fr", "no domain"),
        ("a@[192.0.2.1]", "no domain"),
        ("a@192.0.2.1", "no domain"),
        ("a@shop.fr\r\nBcc: b@c.d", "one bare address"),
        ("a\r\n@shop.fr", "one bare address"),
        ("a@b@shop.fr", "one bare address"),
        ("a..b@shop.fr", "one bare address"),
        ('"a b"@shop.fr', "one bare address"),
        ("abc@" + "b." * 125 + "fr", "at most 254"),
        ("{0}@", "no domain"),
        (7, "one bare address"),
    ],
)
def test_an_address_that_is_none_is_told_why(written: object, hint: str) -> None:
    assert hint in why(EMAIL, written)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("IMAP.Shop.fr", "imap.shop.fr"),
        ("imap.shop.fr.", "imap.shop.fr"),
        ("dovecot_1", "dovecot_1"),
        ("192.0.2.1", "192.0.2.1"),
        ("[::1]", "::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("bücher.example", "xn--bcher-kva.example"),
    ],
)
def test_a_host_is_read(written: str, read: str) -> None:
    assert HOST.validate_python(written) == read


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("imap.shop.fr:993", "the port has a key of its own"),
        ("imaps://imap.shop.fr", '"://"'),
        ("192.0.2", "a host name such as"),
        ("a b.fr", "a host name such as"),
        ("", "a host name such as"),
        (1, "a host name such as"),
    ],
)
def test_a_host_that_is_none_is_told_why(written: object, hint: str) -> None:
    assert hint in why(HOST, written)


@pytest.mark.parametrize(
    "written",
    [
        *("https://shop.fr", "https://shop.fr:8443/a?b=c", "http://localhost:8080/x"),
        *("http://[::1]/", "http://127.0.0.2/", "http://demo.localhost/"),
    ],
)
def test_a_url_is_read(written: str) -> None:
    assert URL.validate_python(written) == written


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("http://shop.fr/", "only to this machine"),
        ("http://127.0.0.1.shop.fr/", "only to this machine"),
        ("https://u:p@shop.fr/", "no user name"),
        ("http://localhost@shop.fr/", "no user name"),
        ("ftp://shop.fr/", "a URL such as"),
        ("shop.fr", "a URL such as"),
        ("https://", "a URL such as"),
        ("https://shop.fr:99999/", "a URL such as"),
        ("https://sh op.fr/", "a URL such as"),
        ("https://shop.fr/\n", "a URL such as"),
        (None, "a URL such as"),
    ],
)
def test_a_url_that_is_none_is_told_why(written: object, hint: str) -> None:
    assert hint in why(URL, written)


def test_a_relative_path_starts_at_the_configuration_file() -> None:
    context = {kinds.BASE_DIR: Path("/etc/mailbridge")}
    assert PATH.validate_python("ca.pem", context=context) == Path("/etc/mailbridge/ca.pem")
    assert PATH.validate_python("/ca.pem", context=context) == Path("/ca.pem")
    assert PATH.validate_python("~/ca.pem", context=context) == Path.home() / "ca.pem"
