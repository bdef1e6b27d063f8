"""What a good file becomes, what is warned about, and that no mistake hides another."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from mailbridge.config import loader, shape
from mailbridge.config.loader import ConfigError, Loaded, load, unreadable_secrets
from mailbridge.config.marketplaces import Cdiscount
from mailbridge.marketplace.cdiscount.wsdl import BUILTIN, BUILTIN_2020

GOOD = """
[alerts]
heartbeat_url = "https://beat.example.org/key"

[accounts.shop]
shop_names = ["Ma Boutique"]

[accounts.shop.marketplace]
login = "shop-api"
password = { env = "CDISCOUNT" }

[accounts.shop.imap]
host = "imap.shop.fr"
password = { env = "MAIL" }

[accounts.shop.smtp]
host = "smtp.shop.fr"
password = { env = "MAIL" }

[accounts.shop.mailbox]
address = "support@shop.fr"
"""


class Desk:
    """A folder with one configuration file."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "config.toml"

    def load(self, text: str, environ: Mapping[str, str] | None = None) -> Loaded:
        self.file.write_text(text, encoding="utf-8")
        self.file.chmod(0o600)
        return load(self.file, environ or {})

    def warnings(self, *changes: tuple[str, str]) -> list[str]:
        """What is warned about after these replacements in a good file."""
        return [f"{one.where}: {one.text}" for one in self.load(changed(*changes)).warnings]

    def mistakes(self, text: str) -> list[str]:
        with pytest.raises(ConfigError) as refused:
            self.load(text)
        return [one.where for one in refused.value.mistakes]


def changed(*changes: tuple[str, str]) -> str:
    text = GOOD
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_good_file_is_loaded_without_a_word(desk: Desk) -> None:
    loaded = desk.load(GOOD)
    assert loaded.warnings == ()
    account = loaded.config.accounts["shop"]
    assert account.imap.host == "imap.shop.fr"
    assert account.sweeps.quick_every == timedelta(minutes=2)
    assert loaded.config.state_dir == Path("/var/lib/mailbridge")


def test_windows_line_ends_and_a_byte_order_mark_do_no_harm(desk: Desk) -> None:
    desk.file.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load(desk.file, {}).config.accounts["shop"].mailbox.address == "support@shop.fr"


def test_systemd_names_the_folders_unless_the_file_does(desk: Desk) -> None:
    systemd = {"STATE_DIRECTORY": "/var/lib/private/mb:/other", "RUNTIME_DIRECTORY": "/run/mb"}
    config = desk.load(GOOD, systemd).config
    assert (config.state_dir, config.runtime_dir) == (
        Path("/var/lib/private/mb"),
        Path("/run/mb"),
    )
    config = desk.load('state_dir = "state"\n' + GOOD, systemd).config
    assert (config.state_dir, config.runtime_dir) == (desk.file.parent / "state", Path("/run/mb"))


def test_relative_paths_start_at_the_file(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    (desk.file.parent / "templates").mkdir()
    monkeypatch.chdir("/")
    config = desk.load('templates_dir = "templates"\n' + GOOD).config
    assert config.templates_dir == desk.file.parent / "templates"


@pytest.mark.parametrize("name", [BUILTIN, BUILTIN_2020])
def test_a_description_that_comes_with_mailbridge_is_known_by_its_name(
    desk: Desk, name: str
) -> None:
    config = desk.load(changed(('"shop-api"', f'"shop-api"\nwsdl = "{name}"'))).config
    market = config.accounts["shop"].marketplace
    assert isinstance(market, Cdiscount)
    assert market.wsdl == name


@pytest.mark.parametrize(
    ("old", "new", "warning"),
    [
        ('shop_names = ["Ma Boutique"]', "", "accounts.shop.shop_names: is empty"),
        ("shop-api", "shop", "accounts.shop.marketplace.login: Cdiscount's API accounts end in"),
        (
            'host = "smtp.shop.fr"',
            'host = "smtp.shop.fr"\nport = 587',
            'accounts.shop.smtp.port: 587 is the port of security = "starttls"',
        ),
        (
            'heartbeat_url = "https://beat.example.org/key"',
            'mail_to = "Support@shop.fr"\n'
            'smtp = { host = "mail.example.org", user = "u", password = { env = "A" } }',
            "alerts.mail_to: is the mailbox of account shop",
        ),
        (
            'heartbeat_url = "https://beat.example.org/key"',
            'mail_to = "boss@example.org"',
            "alerts.smtp: is missing; an alert then leaves through the account's own server",
        ),
        ('heartbeat_url = "https://beat.example.org/key"', "", "alerts: nobody hears of trouble"),
        (
            'address = "support@shop.fr"',
            'address = "support@shop.fr"\nreply_address = "r@shop.fr"',
            "accounts.shop.mailbox.reply_address: is not used",
        ),
        (
            'host = "imap.shop.fr"',
            'host = "imap.shop.fr"\ntoken = { env = "T" }',
            "accounts.shop.imap.token: is not used",
        ),
        (
            "[accounts.shop.imap]",
            '[accounts.shop.sweeps]\nquick_window = "1h"\n[accounts.shop.imap]',
            "accounts.shop.sweeps.quick_window: messages were seen to appear 57m late",
        ),
        (
            "[accounts.shop.imap]",
            '[accounts.shop.replies]\nsender = "a@other.fr"\n[accounts.shop.imap]',
            "accounts.shop.replies.sender: is not of the mailbox's domain shop.fr",
        ),
        (
            "[accounts.shop.imap]",
            '[[accounts.shop.staff]]\naddress = "a@shop.fr"\n[accounts.shop.trust]\n'
            "sent_copy = false\n[accounts.shop.replies]\nenabled = true\n[accounts.shop.imap]",
            "accounts.shop.trust: names no evidence of origin",
        ),
        ('{ env = "CDISCOUNT" }', '"hush"', "accounts.shop.marketplace.password: a secret in the"),
    ],
)
def test_what_is_unwise_is_said_once(desk: Desk, old: str, new: str, warning: str) -> None:
    warnings = desk.warnings((old, new))
    assert len(warnings) == 1, warnings
    assert warnings[0].startswith(warning)
    assert "hush" not in warnings[0]


def test_a_secret_in_a_file_others_can_read_is_said_of_the_file(desk: Desk) -> None:
    desk.file.write_text(changed(('{ env = "CDISCOUNT" }', '"hush"')), encoding="utf-8")
    desk.file.chmod(0o644)
    warnings = load(desk.file, {}).warnings
    assert [one.where for one in warnings] == ["", "accounts.shop.marketplace.password"]
    assert "chmod 600" in warnings[0].text


def test_what_rests_on_a_wrong_value_is_not_judged(desk: Desk) -> None:
    # Whether "alias" lacks its address cannot be said while the address is misspelt, and whether
    # plaintext is allowed cannot be said of an unknown host.
    text = changed(
        ('address = "support@shop.fr"', 'address = "x"\nreply_mode = "alias"\nreply_adress = "y"'),
        ('host = "imap.shop.fr"', 'host = "imap shop"\nsecurity = "plain"'),
    )
    assert desk.mistakes(text) == [
        "accounts.shop.imap.host",
        "accounts.shop.mailbox.address",
        "accounts.shop.mailbox.reply_adress",
    ]


def test_a_table_of_the_wrong_kind_hides_nothing_beside_it(desk: Desk) -> None:
    text = changed(('[accounts.shop.smtp]\nhost = "smtp.shop.fr"\npassword = { env = "MAIL" }', ""))
    text = text.replace("[accounts.shop]", "[accounts.shop]\nsmtp = 7\nenabled = 3\nstaff = {}")
    assert desk.mistakes(text) == [
        "accounts.shop.smtp",
        "accounts.shop.enabled",
        "accounts.shop.staff",
    ]


@pytest.mark.parametrize("text", ["accounts = 7", "accounts = {}", "accounts = { a = 7 }", "[x]"])
def test_even_a_hopeless_file_gets_an_answer(desk: Desk, text: str) -> None:
    assert desk.mistakes(text)


def test_deep_nesting_and_huge_numbers_are_answered(desk: Desk) -> None:
    assert desk.mistakes("a = " + "[" * 5000) == [""]
    assert desk.mistakes("a = " + "9" * 5000) == [""]
    assert desk.mistakes("language = " + "9" * 4000 + "\n" + GOOD) == ["language"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    def answer(path: Path) -> str:
        with pytest.raises(ConfigError) as refused:
            load(path, {})
        return str(refused.value)

    assert "does not exist; start from config.example.toml" in answer(tmp_path / "missing")
    assert "is a folder" in answer(tmp_path)
    closed = tmp_path / "closed"
    closed.write_text(GOOD)
    closed.chmod(0)
    if not os.access(closed, os.R_OK):
        assert "may not be read by this user" in answer(closed)
    big = tmp_path / "big"
    big.write_bytes(b"#" * (1024 * 1024 + 1))
    assert "bigger than 1 MiB" in answer(big)


def test_no_repr_of_a_configuration_shows_what_opens_doors(desk: Desk) -> None:
    text = changed(('{ env = "CDISCOUNT" }', '"hush"'), ("org/key", "org/hush"))
    loaded = desk.load('journal = "sqlite+aiosqlite:////tmp/hush"\n' + text)
    assert "hush" not in repr(loaded)


async def test_every_secret_that_cannot_be_read_is_named(desk: Desk) -> None:
    other = GOOD.partition("[accounts.shop]")[2].replace("accounts.shop", "accounts.off")
    text = GOOD + "\n[accounts.off]\nenabled = false\n" + other
    config = desk.load(text).config
    faults = await unreadable_secrets(config, {"MAIL": "x"})
    assert [one.where for one in faults] == ["accounts.shop.marketplace.password"]
    assert "CDISCOUNT is not set" in faults[0].text
    assert await unreadable_secrets(config, {"MAIL": "x", "CDISCOUNT": "y"}) == ()


def test_every_required_key_has_words_and_a_stand_in() -> None:
    required = {
        name
        for section in shape.sections()
        for name, field in section.model.model_fields.items()
        if field.is_required()
    }
    assert required == set(loader._REQUIRED)


def test_every_key_has_its_sentence() -> None:
    for section in shape.sections():
        for name, field in section.values.items():
            assert field.description, f"{section.title()} {name}"
