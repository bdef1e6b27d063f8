"""`mailbridge demo`: the real daemon at work in a sandbox, told in the terminal, or stayed in.

Here it is started and ended; what happens in the story is `story`'s, what happens while it stays
up is `hosting`'s.
"""

from __future__ import annotations

import sys
import time
from io import TextIOWrapper
from random import Random

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mailbridge.sandbox.daemon import Daemon, DaemonTrouble
from mailbridge.sandbox.hosting import Hosting, show_mail_settings
from mailbridge.sandbox.stage import Stage, open_stage, until_interrupted
from mailbridge.sandbox.story import Scene, Story, StoryFailed
from mailbridge.sandbox.telling import Teller
from mailbridge.sandbox.world import Door

__all__ = ["demo"]

_SEED = 14
"""The story has the same people each time."""


async def demo(console: Console, *, stay: bool, marketplace: str = Door.OCTOPIA) -> int:
    """Tell the story, or with `stay` keep the sandbox up until interrupted; the exit code.

    `marketplace` is one of `Door`.
    """
    door = Door(marketplace)
    if isinstance(sys.stdout, TextIOWrapper):
        # French words on a terminal that can't show them must not end the demo.
        sys.stdout.reconfigure(errors="replace")
    teller = Teller(console)
    code = await until_interrupted(_stay(teller, door) if stay else _play(teller, door))
    if code is None:
        teller.say("\nStopped. Everything that was started has ended, nothing is left behind.")
        return 0 if stay else 130
    return code


async def _play(teller: Teller, door: Door) -> int:
    begun = time.monotonic()
    teller.say(
        "[bold]mailbridge demo[/]: a customer-service team answers marketplace customers from its "
        "mail clients. Marketplace and mail provider are simulated on this machine; the "
        "daemon is the real one, and the mails are in French, as in the shop."
    )
    async with open_stage(
        rng=Random(_SEED),  # noqa: S311
        marketplace=door,
        wait_for_sent_copy="3s",
    ) as stage:
        daemon = Daemon(stage.settings.path, stage.settings.control)
        try:
            async with daemon:
                set_up = time.monotonic() - begun
                _show_stage(teller, stage, daemon)
                await teller.pause(1)
                story = Story(stage, daemon, teller)
                await story.play()
        except (DaemonTrouble, StoryFailed) as error:
            _show_failure(teller, error, daemon)
            return 1
    _show_summary(teller, story.scenes, set_up)
    return 0


async def _stay(teller: Teller, door: Door) -> int:
    teller.say("[bold]mailbridge demo[/]: you are the agent. One moment …")
    rng = Random()  # noqa: S311 - invented people
    async with open_stage(
        rng=rng, fixed_ports=True, marketplace=door, wait_for_sent_copy="20s"
    ) as stage:
        hosting = Hosting(stage, teller, rng)
        daemon = Daemon(stage.settings.path, stage.settings.control, on_event=hosting.heard)
        try:
            async with daemon:
                _show_stage(teller, stage, daemon)
                show_mail_settings(stage, teller)
                teller.say(
                    "\nOpen a mail in the inbox, reply, and put [bold]!clos[/] on a line of its "
                    "own to close ([bold]!aide[/] for the rest). Customers write now and then. "
                    "What happens, line by line; Ctrl-C ends it:\n"
                )
                await hosting.run(daemon)
        except DaemonTrouble as error:
            _show_failure(teller, error, daemon)
            return 1
    return 0


def _show_stage(teller: Teller, stage: Stage, daemon: Daemon) -> None:
    world = stage.world
    teller.say("")
    match world.door:
        case Door.OCTOPIA:
            teller.done(f"marketplace simulator on 127.0.0.1:{world.octopia.port} (Octopia, REST)")
        case Door.CDISCOUNT:
            at = f"127.0.0.1:{world.market.port}"
            teller.done(f"marketplace simulator on {at} (SOAP), with its mail relay")
    remark = f" ({stage.remark})" if stage.remark else ""
    teller.done(
        f"mailbox of {stage.world.address}: {stage.mailbox_server} on port {stage.world.imap[1]}"
        f"{remark}, SMTP on port {stage.world.mail.smtp_port}"
    )
    teller.done(f"the daemon: mailbridge run, process {daemon.pid}")


def _show_failure(teller: Teller, error: Exception, daemon: Daemon) -> None:
    teller.paper("The demo failed", str(error), style="red")
    if daemon.tail:
        teller.say("The last lines of the daemon's log:")
        for line in daemon.tail:
            teller.line(f"  {line}")


def _show_summary(teller: Teller, scenes: list[Scene], set_up: float) -> None:
    table = Table(title="\nWhat was shown", title_justify="left", title_style="bold")
    table.add_column("")
    table.add_column("scene")
    table.add_column("seconds", justify="right")
    table.add_row("", "set-up", f"{set_up:.1f}", style="dim")
    for scene in scenes:
        table.add_row(Text("✓", "green"), scene.title, f"{scene.seconds:.1f}")
    total = set_up + sum(scene.seconds for scene in scenes)
    table.add_row("", "all", f"{total:.1f}", style="bold")
    teller.show(table)
    teller.say(
        "\nNext: [bold]make demo SERVE=1[/] stays up, and you answer from your own mail client; "
        "README.md says how to install it for a shop."
    )
