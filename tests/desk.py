"""An operator's desk: a folder with a configuration file for the sandbox's world."""

from __future__ import annotations

import shutil
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import trustme

from mailbridge.config.loader import Loaded, load
from mailbridge.sandbox.clock import wall_clock
from mailbridge.sandbox.world import World

__all__ = ["Desk", "open_desk"]

Values = Mapping[str, str | None]
"""Keys and their values as TOML writes them; None takes a key out."""


class Desk:
    """One shop called `shop`, on servers of this process. Secrets lie in files of their own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.file = home / "config.toml"
        self._world: World | None = None
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(home / "ca.pem"))
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.client_tls = ssl.create_default_context(cafile=str(home / "ca.pem"))
        """What an agent's mail client needs for STARTTLS."""
        authority.issue_cert("127.0.0.1").configure_cert(self._tls)

    @asynccontextmanager
    async def world(self, **options: Any) -> AsyncIterator[World]:
        """The servers; the desk's file names their ports from now on."""
        async with World(clock=wall_clock, rng=Random(7), tls=self._tls, **options) as world:
            self._world = world
            for name, secret in (("market", world.market.password), ("mail", world.password)):
                path = self.home / name
                path.write_text(secret + "\n")
                path.chmod(0o600)
            yield world

    def load(
        self,
        also: Mapping[str, Values] | None = None,
        /,
        *,
        second: bool = False,
        off: str = "",
        **changes: Values,
    ) -> Loaded:
        """Write the file (see `write`) and load it as the command line does."""
        return load(self.write(also, second=second, off=off, **changes), {})

    def write(
        self,
        also: Mapping[str, Values] | None = None,
        /,
        *,
        second: bool = False,
        off: str = "",
        **changes: Values,
    ) -> Path:
        """`also` and `changes` are merged into the sections of `shop`; `top` is the file's top.

        `second` adds an account `other` whose IMAP server is not there; `off` disables one.
        """
        changes = {**(also or {}), **changes}
        top: dict[str, str | None] = {
            "state_dir": f'"{self.home}/state"',
            "runtime_dir": f'"{self.home}/run"',
        }
        text = _lines({**top, **changes.pop("top", {})})
        text += '[alerts]\nheartbeat_url = "https://beat.example.org/key"\n'
        text += self._account("shop", changes, enabled=off != "shop")
        if second:
            away: dict[str, Values] = {
                "imap": {"port": "1"},
                "mailbox": {"folder": '"Autre"', "closed_folder": '"Autre clos"'},
                "marketplace": {"login": '"other-api"'},
            }
            text += self._account("other", away, enabled=off != "other")
        self.file.write_text(text, encoding="utf-8")
        self.file.chmod(0o600)
        return self.file

    def _account(self, name: str, changes: Mapping[str, Values], *, enabled: bool) -> str:
        sections = self._sections()
        for section, values in changes.items():
            sections[section] = {**sections.get(section, {}), **values}
        text = f"[accounts.{name}]\n" + _lines(sections.pop("", {}))
        text += "" if enabled else "enabled = false\n"
        for section, values in sections.items():
            text += f"[accounts.{name}.{section}]\n{_lines(values)}"
        return text + f'[[accounts.{name}.staff]]\naddress = "{_ADDRESS}"\n'

    def _sections(self) -> dict[str, Values]:
        world = self._world
        imap, smtp = (world.mail.imap_port, world.mail.smtp_port) if world else (143, 587)
        market: dict[str, str | None] = {"login": '"brindille-api"'}
        if world is not None:
            market = {
                "login": f'"{world.market.login}"',
                "token_url": f'"{world.market.token_url}"',
                "service_url": f'"{world.market.service_url}"',
            }
        return {
            "": {"shop_names": f'["{world.books.seller if world else "Brindille"}"]'},
            "marketplace": {**market, "password": '{ file = "market" }'},
            "imap": {
                "host": '"127.0.0.1"',
                "port": str(imap),
                "security": '"plain"',
                "password": '{ file = "mail" }',
            },
            "smtp": {
                "host": '"127.0.0.1"',
                "port": str(smtp),
                "security": '"starttls"',
                "ca_file": '"ca.pem"',
                "password": '{ file = "mail" }',
            },
            "mailbox": {"address": f'"{_ADDRESS}"'},
        }


_ADDRESS = "support@maison-brindille.example"


def _lines(values: Values) -> str:
    return "".join(f"{key} = {value}\n" for key, value in values.items() if value is not None)


@contextmanager
def open_desk() -> Iterator[Desk]:
    """A desk of one's own; its path is short, pytest's are too long for a socket at times."""
    home = Path(tempfile.mkdtemp(prefix="mb-"))
    try:
        yield Desk(home)
    finally:
        shutil.rmtree(home)
