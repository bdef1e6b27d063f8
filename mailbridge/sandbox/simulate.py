"""`mailbridge simulate`: a marketplace and a mailbox to point a daemon of your own at.

It writes a complete configuration, says where, and stays up until interrupted; no daemon runs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

from lxml.etree import XMLSyntaxError
from rich.console import Console

from mailbridge.sandbox.hosting import Hosting, show_mail_settings
from mailbridge.sandbox.stage import Stage, open_stage, until_interrupted
from mailbridge.sandbox.telling import Teller
from mailbridge.sandbox.world import Door

__all__ = ["simulate"]


async def simulate(
    console: Console, *, discussions: int, marketplace: str = Door.OCTOPIA, wsdl: str | None = None
) -> int:
    """Serve until interrupted; the exit code.

    `discussions`: so many at the start, answered, closed and waiting ones mixed. `wsdl`: a folder
    with the WSDL and XSD files to serve instead of the subset that comes with mailbridge; it
    means `cdiscount`.
    """
    door = Door.CDISCOUNT if wsdl else Door(marketplace)
    folder = Path(wsdl) if wsdl else None
    if folder is not None and not folder.is_dir():
        return _refused(f"--wsdl: {folder} is not a folder")
    if discussions < 0:
        return _refused("--discussions: must be 0 or more")
    teller = Teller(console)
    code = await until_interrupted(_serve(teller, discussions, door, folder))
    if code is None:
        teller.say("\nStopped. The sandbox and its folder are gone.")
        return 0
    return code


async def _serve(teller: Teller, discussions: int, door: Door, wsdl: Path | None) -> int:
    rng = Random()  # noqa: S311 - invented people
    try:
        async with open_stage(rng=rng, fixed_ports=True, marketplace=door, wsdl=wsdl) as stage:
            stage.world.cast.history(discussions)
            _show(teller, stage, discussions)
            await Hosting(stage, teller, rng).run(None, at_start=0)
    except (ValueError, XMLSyntaxError) as error:
        return _refused(f"--wsdl: {error}")
    return 0


def _refused(words: str) -> int:
    print(f"mailbridge: {words}", file=sys.stderr)
    return 1


def _show(teller: Teller, stage: Stage, discussions: int) -> None:
    world, path = stage.world, stage.settings.path
    remark = f" ({stage.remark})" if stage.remark else ""
    teller.say("[bold]mailbridge simulate[/]: a marketplace and a mailbox, and no daemon.\n")
    at = world.octopia.api_url if world.door is Door.OCTOPIA else world.market.service_url
    teller.done(f"marketplace at {at}, {discussions} discussions")
    if world.door is Door.CDISCOUNT:
        teller.done(f"its WSDL at {world.market.wsdl_url}")
    teller.done(f"mailbox of {world.address}: {stage.mailbox_server}{remark}")
    teller.done(f"configuration: [bold]{path}[/]")
    show_mail_settings(stage, teller)
    teller.say("\nIn another terminal:\n")
    teller.line(f"  mailbridge --config {path} check")
    teller.line(f"  mailbridge --config {path} run")
    teller.say(
        "\nWith the daemon running, [bold]check --probe[/] files a mail that you answer once: that "
        "proves how replies come back. Customers write now and then; Ctrl-C ends it, and removes "
        "the configuration with it.\n"
    )
