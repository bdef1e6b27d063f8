"""The configuration file of a sandbox: what an operator would have written for it.

The same file drives the demo's daemon and is given to those who run `mailbridge simulate`; it
passes `mailbridge check`. Secrets go into files of their own beside it, as they should.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mailbridge.sandbox.world import Door, World

__all__ = ["ACCOUNT", "STAFF", "Settings", "write_settings"]

ACCOUNT = "brindille"
"""The account's name."""

STAFF: Mapping[str, str] = {
    "support@maison-brindille.example": "Service client",
    "paul@maison-brindille.example": "Paul",
    "ines@maison-brindille.example": "Inès",
}
"""Who answers in the shop: address and name."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the file is, and what it names."""

    path: Path
    control: Path
    """The daemon's control socket."""


def write_settings(
    world: World,
    folder: Path,
    *,
    wsdl: str | None = None,
    wait_for_sent_copy: str = "30s",
) -> Settings:
    """Write `config.toml` and its secrets into `folder`; the world must be running.

    `wsdl` is what `marketplace.wsdl` is set to, None for the subset that comes with mailbridge.
    `wait_for_sent_copy` as in the file: how long a reply may wait for the proof of its origin.
    """
    secrets = folder / "secrets"
    secrets.mkdir(mode=0o700)
    for name, value in (("marketplace", world.books.password), ("mailbox", world.password)):
        path = secrets / name
        path.touch(mode=0o600)
        path.write_text(value + "\n")
    staff = "".join(
        f"\n[[accounts.{ACCOUNT}.staff]]\naddress = {_q(address)}\nname = {_q(name)}\n"
        for address, name in STAFF.items()
    )
    path = folder / "config.toml"
    path.write_text(
        _TOML.format(
            account=ACCOUNT,
            state=_q(folder / "state"),
            runtime=_q(folder / "run"),
            shop=_q(world.books.seller),
            marketplace=_marketplace(world, secrets / "marketplace", wsdl),
            mailbox_secret=_q(secrets / "mailbox"),
            imap_host=_q(world.imap[0]),
            imap_port=world.imap[1],
            smtp_host=_q(world.mail.host),
            smtp_port=world.mail.smtp_port,
            address=_q(world.address),
            wait=_q(wait_for_sent_copy),
            staff=staff,
        ),
        encoding="utf-8",
    )
    return Settings(path, folder / "run" / "control.sock")


def _marketplace(world: World, secret: Path, wsdl: str | None) -> str:
    """The keys of the marketplace's section, for the door that the world is set to."""
    match world.door:
        case Door.OCTOPIA:
            keys = {
                "kind": "octopia",
                "client_id": world.octopia.client_id,
                "seller_id": world.octopia.seller_id,
                "api_url": world.octopia.api_url,
                "token_url": world.octopia.token_url,
            }
            named = "client_secret"
        case Door.CDISCOUNT:
            keys = {
                "kind": "cdiscount",
                "login": world.market.login,
                "token_url": world.market.token_url,
                "service_url": world.market.service_url,
            }
            if wsdl:
                keys["wsdl"] = wsdl
            named = "password"
    lines = [f"{key} = {_q(value)}\n" for key, value in keys.items()]
    return "".join(lines) + f"{named} = {{ file = {_q(secret)} }}\n"


def _q(value: str | Path) -> str:
    # A JSON string is a TOML basic string as well.
    return json.dumps(str(value), ensure_ascii=False)


_TOML = """\
# A sandbox of mailbridge: everything in it is on this machine and lives as long as the sandbox.
# config.example.toml explains every key, in the same order.

language = "fr"
state_dir = {state}
runtime_dir = {runtime}

[log]
format = "json"

[alerts]
# The sandbox's mail server takes it, and there it ends.
mail_to = "operator@elsewhere.example"

[alerts.smtp]
host = {smtp_host}
port = {smtp_port}
security = "plain"
user = {address}
password = {{ file = {mailbox_secret} }}

[accounts.{account}]
shop_names = [{shop}]

[accounts.{account}.marketplace]
{marketplace}timeout = "30s"

[accounts.{account}.imap]
host = {imap_host}
port = {imap_port}
security = "plain"
password = {{ file = {mailbox_secret} }}
# Some clients file their Sent copy seconds after sending; a mailbox of this size is quickly read.
poll = "10s"

[accounts.{account}.smtp]
host = {smtp_host}
port = {smtp_port}
security = "plain"
password = {{ file = {mailbox_secret} }}

[accounts.{account}.mailbox]
address = {address}
{staff}
[accounts.{account}.replies]
enabled = true
wait_for_sent_copy = {wait}

[accounts.{account}.sweeps]
quick_every = "30s"
"""
