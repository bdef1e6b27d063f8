"""What may stand in a log and what may not."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from mailbridge.domain.identity import Identity, NameKind
from mailbridge.ops.redaction import Redactor

HEX = "1a2b3c4d5e6f708192a3b4c5d6e7f809"
IDENTITY = Identity([b"k" * 32], account="shop", domain="mb.shop.example")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"to c.{HEX}@clemarche.com", "to c.1a2b…@clemarche.com"),
        (f"to C.{HEX.upper()}@clemarche.com", "to C.1A2B…@clemarche.com"),
        (f"token {HEX} expired", "token 1a2b… expired"),
        (f"{HEX}{HEX}", "1a2b…"),
        ("id 0f8fad5b-d9cb-469f-a165-70867728950e.", "id 0f8f…."),
        ("from jean.dupont+x@orange.fr", "from j…@orange.fr"),
        ("<jean@orange.fr>,paul@free.fr", "<j…@orange.fr>,p…@free.fr"),
        ("é.dupont@exämple.fr", "é…@exämple.fr"),
        ("support@shop.example wrote", "support@shop.example wrote"),
        ("Support@Shop.example wrote", "Support@Shop.example wrote"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: [secret]"),
        ("Bearer abcdefghijklmnop.qrst==", "Bearer [secret]"),
        ("basic authentication is off", "basic authentication is off"),
        ("got eyJhbGciOiJI.eyJzdWIiOiIx.sig_x back", "got [token] back"),
        ("password=hunter2&x=1", "password=[secret]&x=1"),
        ('{"access_token": "a b", "n": 1}', '{"access_token": [secret], "n": 1}'),
        ("mot de passe : été2024", "mot de passe : [secret]"),
        ("https://user:pw@host/path", "https://[secret]@host/path"),
        ("order 1904241640CLE8Z of cd-3c2e7r", "order 1904241640CLE8Z of cd-3c2e7r"),
        ("a\x1b[31mb\u202ec\x00", "a[31mbc"),
    ],
)
def test_text(text: str, shown: str) -> None:
    assert Redactor(["support@shop.example"]).text(text) == shown


def test_names_of_ours_keep_their_id_and_lose_their_tag() -> None:
    redactor = Redactor()
    message_id = IDENTITY.message_id(NameKind.MESSAGE, "cd-3c2e7r", "1a2b3c")
    assert redactor.text(message_id) == "<m.cd-3c2e7r.1a2b3c.…@mb.shop.example>"
    route = f"support+{IDENTITY.route('cd-3c2e7r')}@shop.example"
    tag = route.partition("@")[0].rpartition("-")[2]
    shown = redactor.text(f"reply to {route}")
    assert shown == "reply to support+mb-cd-3c2e7r-…@shop.example"
    assert tag not in shown


def test_own_addresses_do_not_cover_the_reply_addresses_built_on_them() -> None:
    route = f"support+{IDENTITY.route('cd-3c2e7r')}@shop.example"
    shown = Redactor(["support@shop.example", route]).text(route)
    assert IDENTITY.route("cd-3c2e7r") not in shown


def test_a_learned_password_is_hidden_wherever_it_turns_up() -> None:
    redactor = Redactor()
    redactor.learn("hunter2-long")
    redactor.learn("hunter2-long-er")
    redactor.learn("abc")
    assert redactor.text("535 bad hunter2-long-er, abc") == "535 bad [secret], abc"
    assert "hunter2" not in repr(redactor)


def test_keys_that_name_a_secret_hide_their_value_and_structures_are_walked() -> None:
    event = {
        "event": "signed in",
        "password": "x",
        "api-key": 12345,
        "access_token": "t",
        "code": "004217",
        "smtp": {"code": 550, "reply": f"no {HEX}", "secret": None, "pwd": "y"},
        "to": ["jean@orange.fr", ("a", b"raw bytes")],
        "at": datetime(2024, 5, 1, tzinfo=UTC),
        "ok": True,
        "count": 3,
        "error": ValueError("password: hunter2"),
        "exception": "Traceback:\n  mail to jean@orange.fr",
    }
    assert Redactor()(None, "info", event) == {
        "event": "signed in",
        "password": "[secret]",
        "api-key": "[secret]",
        "access_token": "[secret]",
        "code": "[secret]",
        "smtp": {"code": 550, "reply": "no 1a2b…", "secret": None, "pwd": "[secret]"},
        "to": ["j…@orange.fr", ["a", "[9 bytes]"]],
        "at": "2024-05-01 00:00:00+00:00",
        "ok": True,
        "count": 3,
        "error": "ValueError: password: [secret]",
        "exception": "Traceback:\n  mail to j…@orange.fr",
    }


def test_a_value_is_one_line_of_bounded_length() -> None:
    shown = Redactor().value("event", "a\r\nlevel=error fake\n" + "x" * 100_000)
    assert isinstance(shown, str)
    assert shown.startswith("a level=error fake xxx")
    assert len(shown) == 2_000


@pytest.mark.parametrize(
    "unit", ["a", "a.", "a@", "eyJ-", "eyJaaaaaaaa.", "http+", "mb-", "0a", "password=", '"', "= "]
)
def test_hostile_text_costs_little(unit: str) -> None:
    text = unit * (20_000 // len(unit))
    start = time.process_time()
    Redactor().text(text)
    assert time.process_time() - start < 0.25
