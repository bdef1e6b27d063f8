"""neomutt answers a customer: a real client, a real Dovecot, the real daemon as a process.

neomutt gets its keys from its own command line and a script for an editor, and a terminal of its
own, because it starts in no other place. What it sends is nobody's imitation of a client.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from random import Random

import pytest
import pytest_asyncio

from mailbridge.domain.identity import short_id
from mailbridge.sandbox.agent import SeenMail
from mailbridge.sandbox.books import BookedDiscussion
from mailbridge.sandbox.daemon import Daemon
from mailbridge.sandbox.stage import Stage, open_stage
from tests.requirements import find_tool

_WRITTEN = "Bonjour,\n\nVotre colis sera livré demain avant 13 h.\n\nL'équipe Brindille"
_TYPED = f"{_WRITTEN}\n\n!clos\n\n"
_COLLEAGUE = "ines@elsewhere.example"


class Neomutt:
    """The client of one person, with a home of its own."""

    def __init__(self, program: str, home: Path, stage: Stage) -> None:
        self._program = program
        self._home = home
        # The editor puts what was typed above the quote, and saves.
        (home / "typed").write_text(_TYPED)
        editor = home / "editor"
        editor.write_text(f'#!/bin/sh\ncat "{home}/typed" "$1" > "$1.new" && mv "$1.new" "$1"\n')
        editor.chmod(0o700)
        world = stage.world
        (home / "muttrc").write_text(
            _MUTTRC.format(
                imap=f"{world.imap[0]}:{world.imap[1]}",
                smtp=f"{world.mail.host}:{world.mail.smtp_port}",
                address=world.address,
                login=world.address.replace("@", "%40"),
                domain=world.address.partition("@")[2],
                password=world.password,
                editor=editor,
            )
        )

    async def press(self, keys: str) -> None:
        """Start it, let it work through these keys, and wait until it has quit by itself."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 110, 0, 0))
        process = await asyncio.create_subprocess_exec(
            *(self._program, "-F", str(self._home / "muttrc"), "-e", f"push '{keys}'"),
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.STDOUT,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self._home),
                "TERM": "xterm",
                "LANG": "C.UTF-8",
                "TMPDIR": str(self._home),
            },
            start_new_session=True,
        )
        os.close(theirs)
        screen = bytearray()
        os.set_blocking(ours, False)

        def shown() -> None:
            try:
                screen.extend(os.read(ours, 65536))
            except OSError:  # EIO: the other end is closed
                loop.remove_reader(ours)

        loop = asyncio.get_running_loop()
        loop.add_reader(ours, shown)
        try:
            async with asyncio.timeout(20):
                code = await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise AssertionError(f"neomutt waits for a key: {bytes(screen[-2000:])!r}") from None
        finally:
            loop.remove_reader(ours)
            os.close(ours)
        assert code == 0, bytes(screen[-2000:])


@pytest_asyncio.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    find_tool("dovecot", "apt-get install dovecot-imapd dovecot-lmtpd")
    monkeypatch.delenv("MAILBRIDGE_SANDBOX_IMAP", raising=False)
    async with open_stage(rng=Random(3), wait_for_sent_copy="20s") as stage:
        assert stage.mailbox_server.startswith("Dovecot 2.3"), stage.remark
        yield stage


def _name(discussion: BookedDiscussion) -> str:
    return short_id(str(discussion.id)).upper()


async def test_a_reply_with_the_closing_command_closes_the_discussion(
    stage: Stage, tmp_path: Path
) -> None:
    neomutt = Neomutt(find_tool("neomutt", "apt-get install neomutt"), tmp_path, stage)
    world, agent = stage.world, stage.agent()
    answered, left = world.cast.claim(), world.cast.order_question()
    async with Daemon(stage.settings.path, stage.settings.control) as daemon:
        await daemon.sweep()
        for discussion in (answered, left):
            await agent.wait_for(_name(discussion))

        # What sends nothing to a customer: a forward to a colleague, and a reply left as a draft.
        # Both hold the closing command as well.
        await neomutt.press(
            f"<search>~s {_name(left)}<enter>"
            f"<forward-message>{_COLLEAGUE}<enter><send-message>"
            "<reply><postpone-message><quit>"
        )
        await neomutt.press(
            f"<search>~s {_name(answered)}<enter><display-message><reply><send-message><quit><quit>"
        )
        await _until(lambda: bool(world.taken))
        await daemon.sweep()  # and the answer is seen in the discussion
        await _until(lambda: answered.closed)
        folders: Sequence[str] = ()
        for _ in range(200):  # the folder is made for the first closed thread
            folders = await agent.folders()
            if "Clos" in folders:
                break
            await asyncio.sleep(0.1)
        assert "Clos" in folders
        receipt = await agent.wait_for("Discussion fermée", folder="Clos", seconds=20)

        (arrived,) = world.taken
        assert arrived.text.strip() == _WRITTEN
        assert arrived.discussion_id == answered.id
        assert answered.closed
        assert _name(answered) in receipt.subject
        assert _WRITTEN in receipt.text.replace("\r\n", "\n")
        assert receipt.seen

        # The thread has moved as a whole: question, the delivered copy of the reply, receipt.
        assert len(_of(answered, await agent.mails("Clos"))) == 3
        assert _of(answered, await agent.mails()) == []

        await daemon.sweep()
        assert not left.closed
        assert len(_of(left, await agent.mails())) == 1
        ((recipient, forward),) = world.mail.sent_away
        assert recipient == _COLLEAGUE
        assert b"!clos" in forward.data
        (draft,) = await agent.mails("Drafts")
        assert "!clos" in draft.text
        sent = await agent.mails("Sent")
        assert len(sent) == 2
        assert len(world.taken) == 1
        assert "NeoMutt" in str(sent[-1].message["User-Agent"])


async def _until(done: Callable[[], bool]) -> None:
    for _ in range(200):
        if done():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("it did not happen within 20 s")


def _of(discussion: BookedDiscussion, mails: Sequence[SeenMail]) -> list[SeenMail]:
    return [mail for mail in mails if _name(discussion) in mail.subject]


_MUTTRC = """\
set folder = "imap://{imap}/"
set imap_user = "{address}"
set imap_pass = "{password}"
set spoolfile = "+INBOX"
set record = "+Sent"
set postponed = "+Drafts"
set smtp_url = "smtp://{login}@{smtp}/"
set smtp_pass = "{password}"
set ssl_starttls = no
set ssl_force_tls = no
set from = "{address}"
set realname = "Service client"
# Else the name of this machine is asked of DNS.
set hostname = "{domain}"
set editor = "{editor}"
set charset = "utf-8"
set user_agent = yes
set sort = "threads"
# Its questions, answered ahead.
set fast_reply = yes
set reply_to = yes
set include = yes
set abort_unmodified = no
set quit = yes
set wait_key = no
set beep = no
"""
