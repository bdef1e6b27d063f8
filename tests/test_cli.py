"""The command as an operator types it: exit codes, what is printed, and what is JSON."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import structlog

from mailbridge import __version__
from mailbridge.cli import main
from mailbridge.daemon import KEY_FILE
from tests.desk import Desk, open_desk
from tests.requirements import need_root

COMMANDS = (
    "run",
    "check",
    "status",
    "show",
    "orders",
    "refund",
    "pause",
    "resume",
    "release",
    "resend",
    "close",
    "settle",
    "retry",
    "templates",
    "backfill",
    "notify",
    "migrate",
    "demo",
    "simulate",
)
OK, FAILED, MISCONFIGURED, ATTENTION = 0, 1, 2, 3


@pytest.fixture
def desk() -> Iterator[Desk]:
    with open_desk() as one:
        yield one


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """`main` sets logging up for its process, which here is that of all tests."""
    root, ours = logging.getLogger(), logging.getLogger("mailbridge")
    handlers, levels = list(root.handlers), (root.level, ours.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
    logging.captureWarnings(False)
    structlog.reset_defaults()


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def flat(self) -> str:
        return " ".join(self.out.split())


async def mailbridge(*words: str | Path) -> Ran:
    """`mailbridge …` in a thread of this process (another one takes a second to start)."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = await asyncio.to_thread(main, [str(word) for word in words])
    return Ran(code, out.getvalue(), err.getvalue())


async def piped(*words: str | Path) -> Ran:
    """`mailbridge …` in a process of its own, in a pipe."""
    process = await start(*words)
    out, err = await process.communicate()
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())


async def start(*words: str | Path) -> asyncio.subprocess.Process:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("MAILBRIDGE_CONFIG")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "mailbridge",
        *map(str, words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**environ, "COLUMNS": "80", "NO_COLOR": "1"},
        cwd=Path(__file__).parents[1],
    )


# --- the words themselves ----------------------------------------------------------------------


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_every_command_has_help(command: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([command, "--help"] if command else ["--help"])
    assert left.value.code == OK
    out = capsys.readouterr().out
    if command is None:
        assert "mail client your staff already use" in " ".join(out.split())
        for one in COMMANDS:
            assert f"\n    {one} " in out
    else:
        assert out.startswith(f"usage: mailbridge {command}")


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == OK
    assert capsys.readouterr().out == f"mailbridge {__version__}\n"


@pytest.mark.parametrize(
    "words", [[], ["chekc"], ["show"], ["release"], ["pause"], ["backfill", "shop", "--days", "x"]]
)
def test_what_makes_no_sense_is_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == MISCONFIGURED
    assert "usage: mailbridge" in capsys.readouterr().err


# --- the configuration -------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["run", "check", "status"])
def test_a_configuration_that_is_not_there(
    command: str, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = desk.home / "nowhere.toml"
    assert main(["-c", str(missing), command]) == MISCONFIGURED
    told = capsys.readouterr()
    assert told.err.startswith(f"{missing}: does not exist")
    assert told.out == ""


def test_every_mistake_at_once(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    file = desk.write(imap={"prot": "993", "idle": '"yes"'}, mailbox={"reply_mode": '"minus"'})
    assert main(["-c", str(file), "check"]) == MISCONFIGURED
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"{file}:") for line in lines)
    assert "did you mean port?" in lines[1] or "did you mean port?" in lines[0]


def test_the_daemon_does_not_start_without_its_secrets(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    file = desk.write(imap={"password": '{ file = "gone" }'})
    assert main(["-c", str(file), "run"]) == MISCONFIGURED
    assert "accounts.shop.imap.password" in capsys.readouterr().err
    assert not (desk.home / "state").exists()


# --- without a daemon --------------------------------------------------------------------------


async def test_check_on_a_shop_in_which_all_works(desk: Desk) -> None:
    async with desk.world():
        told = await piped("-c", desk.write(), "check", "--json")
        assert told.code == OK, told
        assert {"part", "what", "state", "words", "way_out"} == set(told.json[0])
        assert {f["state"] for f in told.json} <= {"ok", "info", "warn"}

        told = await mailbridge("-c", desk.file, "check", "--account", "shop")
        assert told.code == OK, told
        assert "shop/mailbox\n  ok     sign-in" in told.out
        assert "\x1b" not in told.out
        assert max(map(len, told.out.splitlines())) <= 80


async def test_check_on_one_that_needs_attention(desk: Desk) -> None:
    async with desk.world():
        file = desk.write(imap={"password": '{ file = "market" }'})
        told = await mailbridge("-c", file, "check", "--json")
        assert told.code == ATTENTION
        assert [f["what"] for f in told.json if f["state"] == "bad"] == ["sign-in"]
        told = await mailbridge("-c", file, "check", "--account", "ship")
        assert told.code == FAILED
        assert "no account 'ship'" in told.err


async def test_nothing_has_happened_yet(desk: Desk) -> None:
    for command in (["status"], ["show", "CD-1"], ["pause", "shop"]):
        told = await mailbridge("-c", desk.write(), *command)
        assert told.code == FAILED
        assert told.out == ""
        assert f"no daemon runs, and there is no {desk.home}/state yet" in told.err
        assert "Traceback" not in told.err


async def test_who_only_looks_makes_nothing(desk: Desk) -> None:
    here = ("-c", desk.write())
    home = desk.home / "state"
    home.mkdir(mode=0o700)
    looks = ["status"], ["show", "CD-1"], ["orders"], ["templates", "render", "a", "--order", "1"]
    for command in looks:
        told = await mailbridge(*here, *command)
        assert (told.code, told.out) == (FAILED, "")
        assert f"there is no journal in {home} yet" in told.err
        assert "sudo systemctl start mailbridge" in told.err
        assert list(home.iterdir()) == []


async def test_a_key_that_is_lost_is_made_by_no_command(desk: Desk) -> None:
    async with desk.world():
        here = ("-c", desk.write())
        assert (await mailbridge(*here, "run", "--once")).code == OK
        key = desk.home / "state" / KEY_FILE
        key.unlink()
        told = await mailbridge(*here, "status")
        assert (told.code, told.out) == (FAILED, "")
        assert f"{key} is not: restore it from the backup" in told.err
        assert not key.exists()


async def test_what_root_makes_belongs_to_the_daemons_user(desk: Desk) -> None:
    need_root()
    async with desk.world():
        here = ("-c", desk.write())
        home = desk.home / "state"
        home.mkdir(mode=0o700)
        os.chown(home, 65534, 65534)
        (home / "notes.txt").write_text("the operator's own")
        for command in (["backfill", "shop", "--json"], ["pause", "shop"], ["status"], ["check"]):
            await mailbridge(*here, *command)
            owners = {path.name: path.stat().st_uid for path in home.iterdir()}
            assert owners.pop("notes.txt") == 0
            assert owners.keys() >= {KEY_FILE, "journal.sqlite3"}
            assert set(owners.values()) == {65534}, command


async def test_a_day_without_a_daemon(desk: Desk) -> None:
    async with desk.world() as world:
        claim = world.cast.claim(text="Où est mon colis ?")
        here = ("-c", desk.write())
        ran = await mailbridge(*here, "run", "--once")
        assert ran.code == OK, ran
        (mail,) = await world.mail.mails(world.address)
        short = str(mail.message["Subject"]).rpartition("(")[2].rstrip(")")

        told = await mailbridge(*here, "status", "--json")
        assert told.code == OK, told
        (account,) = told.json["accounts"]
        assert account["counts"]["filings"] == {"filed": 1}
        told = await mailbridge(*here, "status")
        assert (told.code, "nothing needs attention" in told.out) == (OK, True)

        told = await mailbridge(*here, "show", short, "--json")
        assert told.json["id"] == str(claim.id)
        assert "Où est mon colis" not in told.out
        told = await mailbridge(*here, "show", str(claim.id))
        assert (told.code, f"{short} (shop)" in told.out) == (OK, True)
        told = await mailbridge(*here, "show", "CD-NOTHERE")
        assert (told.code, told.out) == (FAILED, "")
        assert "no discussion 'CD-NOTHERE'" in told.err

        told = await mailbridge(*here, "orders", "--json")
        (order,) = told.json["orders"]
        assert (told.code, order["number"]) == (OK, claim.order_number)
        told = await mailbridge(*here, "orders", order["number"], "--refresh")
        assert (told.code, f"{order['number']} (shop)" in told.out) == (OK, True), told
        assert short in told.out and "to be answered by" in told.flat
        assert claim.customer.last_name not in told.out
        assert max(map(len, told.out.splitlines())) <= 80
        told = await mailbridge(*here, "orders", "NOPE")
        assert (told.code, "NOPE: not known" in told.out) == (FAILED, True)

        told = await mailbridge(*here, "pause", "shop", "--why", "stock [taking]", "--json")
        assert (told.code, told.json) == (OK, {"account": "shop", "paused": True})
        told = await mailbridge(*here, "status")
        assert told.code == ATTENTION
        assert "PAUSED: stock [taking]" in told.out
        assert (await mailbridge(*here, "status", "--json")).code == ATTENTION
        told = await mailbridge(*here, "resume", "shop")
        assert (told.code, told.out) == (OK, "account: shop, paused: False\n")
        assert (await mailbridge(*here, "status")).code == OK


async def test_what_there_is_nothing_of_is_refused_in_words(desk: Desk) -> None:
    async with desk.world() as world:
        claim = world.cast.claim()
        here = ("-c", desk.write(replies={"enabled": "true"}))
        assert (await mailbridge(*here, "run", "--once")).code == OK
        for command, words in (
            (("release", str(claim.id)), "nothing is held there"),
            (("resend", str(claim.id)), "no reply there waits to be recorded"),
            (("settle", "N1", "unpaid"), "order N1: no money there waits"),
            (("pause", "ship"), "no account 'ship'; there are: shop"),
            (("backfill", "ship", "--json"), "no account 'ship'"),
        ):
            told = await mailbridge(*here, *command)
            assert (told.code, told.out) == (FAILED, ""), command
            assert words in told.err
            assert "Traceback" not in told.err
        told = await mailbridge(*here, "retry", "--json")
        assert (told.code, told.json) == (OK, {"retried": 0})
        told = await mailbridge(*here, "close", str(claim.id), "--json")
        assert (told.code, told.json["close"]) == (OK, "asked for")

        desk.write(replies={"enabled": "false"})
        told = await mailbridge(*here, "close", str(claim.id))
        assert told.code == FAILED
        assert "replies are switched off" in told.err


async def test_a_back_fill_tells_how_far_it_is(desk: Desk) -> None:
    async with desk.world() as world:
        world.cast.history(6, closed_share=0.5)
        here = ("-c", desk.write())
        told = await mailbridge(*here, "backfill", "shop", "--json")
        assert told.code == OK, told
        steps = [json.loads(line) for line in told.out.splitlines()]
        assert [steps[0]["stage"], steps[-1]["stage"]] == ["reading", "done"]
        assert steps[-1]["new"] == 6
        assert {s["stage"] for s in steps} == {"reading", "read", "filing", "done"}

        told = await mailbridge(*here, "backfill", "shop", "--days", "5")
        assert told.code == OK
        # Into a pipe there are plain lines, and no bar.
        assert told.out.splitlines() == [
            "reading the marketplace",
            "6 discussions; filing their mails",
            "6 discussions read, 0 new, 0 messages filed, 0 unreadable",
        ]


async def test_one_account_in_trouble_does_not_stop_the_other(desk: Desk) -> None:
    async with desk.world() as world:
        world.cast.claim()
        told = await piped("-c", desk.write(second=True), "run", "--once")
        assert told.code == FAILED
        assert "other: 127.0.0.1:1: no connection" in told.err
        assert len(await world.mail.mails(world.address)) == 1


async def until(look: Callable[[], Awaitable[object]], seconds: float = 60) -> None:
    """Wait for what another process brings about."""
    async with asyncio.timeout(seconds):
        while not await look():  # noqa: ASYNC110 - nobody could set an event
            await asyncio.sleep(0.1)


async def test_an_installation_without_the_sandbox_says_what_it_lacks() -> None:
    without = "import sys; sys.modules['pymap'] = None; from mailbridge.cli import main; "
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", f"{without}sys.exit(main(['simulate']))"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert (process.returncode, out) == (FAILED, b"")
    assert err.startswith(b"mailbridge: simulate needs pymap")
    assert b"mailbridge[demo]" in err and err.count(b"\n") == 1


# --- with a daemon -----------------------------------------------------------------------------


@asynccontextmanager
async def running(desk: Desk, file: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """`mailbridge run`, up; killed if the test has not ended it."""
    daemon = await start("-c", file, "run")
    try:

        async def listens() -> bool:
            assert daemon.returncode is None, (await daemon.communicate())[1]
            return (desk.home / "run" / "control.sock").exists()

        await until(listens)
        yield daemon
    finally:
        if daemon.returncode is None:
            daemon.kill()
        await daemon.communicate()


async def test_a_day_with_a_daemon(desk: Desk) -> None:
    async with desk.world() as world:
        world.cast.claim(text="Où est mon colis ?")
        here = ("-c", desk.write())
        async with running(desk, here[1]) as daemon:
            await until(lambda: world.mail.mails(world.address))
            told = await mailbridge(*here, "status", "--json")
            assert told.code == OK, told
            assert {p["name"].partition("/")[0] for p in told.json["parts"]} >= {"shop"}

            # Another one is refused, and this one goes on.
            second = await piped(*here, "run")
            assert second.code == FAILED
            assert f"process {daemon.pid}" in second.err

            told = await mailbridge(*here, "check", "--probe", "--json")
            assert told.code == OK, told
            found = {(f["part"], f["what"]): f for f in told.json}
            assert found["journal", "daemon"]["state"] == "ok"
            assert "MB-PROBE" in found["shop/replies", "probe"]["words"]

            told = await mailbridge(*here, "backfill", "shop", "--json")
            assert (told.code, json.loads(told.out.splitlines()[-1])["stage"]) == (OK, "done")
            assert (await mailbridge(*here, "pause", "shop")).code == OK
            assert (await mailbridge(*here, "status")).code == ATTENTION

            daemon.send_signal(signal.SIGTERM)
            async with asyncio.timeout(20):
                assert await daemon.wait() == OK
        assert not (desk.home / "run" / "control.sock").exists()
        told = await mailbridge(*here, "status")
        assert "the daemon is not running" in told.out


# --- templates -----------------------------------------------------------------------------------


async def test_templates_need_nothing_but_the_file(desk: Desk) -> None:
    here = ("-c", desk.write(), "templates")
    told = await mailbridge(*here, "list")
    assert told.code == OK
    assert "colis fr Où est mon colis ? (order) (parcel)" in told.flat
    told = await mailbridge(*here, "check", "--json")
    assert told.json["faults"] == []
    told = await mailbridge(*here, "show", "retard")
    assert "date: la nouvelle date" in told.flat
    assert "{{ hello }}" in told.out
    told = await mailbridge(*here, "render", "--sample", "retard", "date=jeudi")
    assert "Voici la nouvelle date prévue\u00a0: jeudi." in told.out
    told = await mailbridge(*here, "render", "--sample", "merci")
    assert told.out.endswith("and the discussion is closed\n")


async def test_templates_say_what_is_wrong(desk: Desk) -> None:
    own = desk.home / "own" / "replies"
    own.mkdir(parents=True)
    (own / "Été.txt.j2").write_text("Bonjour")
    (own / "merci.txt.j2").write_text("Merci !")
    here = ("-c", desk.write(top={"templates_dir": '"own"'}), "templates")
    told = await mailbridge(*here, "list")
    assert told.code == ATTENTION
    assert "rename it to ete.txt.j2" in told.flat
    assert "replies/merci.txt.j2, line 1: begins without front matter" in told.flat
    for words, why in (
        (("show", "colsi"), "there is no template 'colsi'; did you mean colis?"),
        (("show", "merci"), "begins without front matter"),
        (("render", "--sample", "retard", "jeudi"), "give values as KEY=VALUE"),
        (("render", "--sample", "colis", "couleur=bleu"), "not known: couleur"),
        (("list", "--account", "ship"), "no account 'ship'"),
        (("render", "colis", "--order", "1"), "there is no"),
    ):
        told = await mailbridge(*here, *words)
        assert (told.code, told.out) == (FAILED, "")
        assert why in told.err


async def test_a_template_for_a_real_order(desk: Desk) -> None:
    async with desk.world() as world:
        claim = world.cast.claim()
        here = ("-c", desk.write())
        assert (await mailbridge(*here, "run", "--once")).code == OK
        render = (*here, "templates", "render", "colis", "--json", "--order")
        told = await mailbridge(*render, str(claim.order_number), "transporteur=UPS")
        assert told.code == OK
        assert f"commande {claim.order_number} " in told.json["text"]
        assert "UPS" in told.json["text"]
        told = await mailbridge(*render, "NOTHERE")
        assert (told.code, told.out) == (FAILED, "")
        assert "'NOTHERE' is not in the journal" in told.err
        assert world.relay.accepted == []
