"""Where secrets may live, and that they never show."""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
import time
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from mailbridge.config import secret as module
from mailbridge.config.secret import Command, Credential, Environment, File, Inline, Secret
from mailbridge.config.secret import SecretError as Refused

ADAPTER: TypeAdapter[Secret] = TypeAdapter(Secret)
PASSWORD = "s3cr3t pàss"


def script(text: str) -> Secret:
    """A secret that a Python program prints."""
    return Secret(Command((sys.executable, "-c", text)))


async def why(secret: Secret, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(Refused) as refused:
        await secret.read(environ)
    assert PASSWORD not in repr(refused.value)
    assert refused.value.__cause__ is None
    return str(refused.value)


async def test_each_place_gives_the_secret_without_its_line_end(tmp_path: Path) -> None:
    file = tmp_path / "mailbox"
    for end in ("", "\n", "\r\n", "\n\n"):
        file.write_text(PASSWORD + end, encoding="utf-8", newline="")
        assert await Secret(File(file)).read() == PASSWORD
    assert await Secret(Inline(PASSWORD)).read() == PASSWORD
    assert await Secret(Environment("P")).read({"P": PASSWORD + "\n"}) == PASSWORD
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert await Secret(Credential("mailbox")).read(environ) == PASSWORD
    assert await script(f"print({PASSWORD!r}); print('more')").read() == PASSWORD


async def test_spaces_belong_to_the_secret(tmp_path: Path) -> None:
    file = tmp_path / "mailbox"
    file.write_text("  x \n")
    assert await Secret(File(file)).read() == "  x "


async def test_a_changed_secret_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "mailbox"
    file.write_text("old\n")
    secret = Secret(File(file))
    assert await secret.read() == "old"
    file.write_text("new\n")
    assert await secret.read() == "new"


async def test_a_key_may_have_several_lines_but_a_password_not(tmp_path: Path) -> None:
    file = tmp_path / "identity"
    file.write_text("new\n\nold\n")
    assert await Secret(File(file)).read_lines() == ("new", "old")
    assert "holds 2 lines" in await why(Secret(File(file)))


async def test_files_that_are_no_secret_are_refused_with_a_way_out(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert await why(Secret(File(missing))) == f"the file {missing} does not exist"
    empty = tmp_path / "empty"
    empty.write_text("\n")
    assert "is empty: put the secret there" in await why(Secret(File(empty)))
    big = tmp_path / "big"
    big.write_bytes(b"x" * 70_000)
    assert "is bigger than" in await why(Secret(File(big)))
    octets = tmp_path / "octets"
    octets.write_bytes(b"\xff" + PASSWORD.encode())
    assert "not text in UTF-8" in await why(Secret(File(octets)))
    nul = tmp_path / "nul"
    nul.write_bytes(b"a\0b")
    assert "holds a NUL" in await why(Secret(File(nul)))
    assert "not a regular file" in await why(Secret(File(tmp_path)))


async def test_a_fifo_does_not_keep_the_daemon_waiting(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    async with asyncio.timeout(5):
        assert "not a regular file" in await why(Secret(File(fifo)))


async def test_the_environment_without_the_variable() -> None:
    assert "MAIL is not set" in await why(Secret(Environment("MAIL")), {})
    assert "MAIL is empty" in await why(Secret(Environment("MAIL")), {"MAIL": ""})


async def test_a_credential_without_systemd_says_how_to_hand_it_over(tmp_path: Path) -> None:
    secret = Secret(Credential("mailbox"))
    assert "LoadCredential=mailbox:/path" in await why(secret, {})
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert "was not handed over" in await why(secret, environ)


async def test_a_command_that_fails_says_how_without_telling_the_secret() -> None:
    fails = "import sys; sys.stderr.write({!r}); print({!r}); sys.exit(3)"
    clean = await why(script(fails.format("warming up\nno such vault\n", PASSWORD)))
    assert clean.endswith("ended with status 3: no such vault")
    for leak in (
        f"wrong: {PASSWORD}",
        "token ya29a0AfB4byC8dE1234 expired",
        "\x1b[31mred",
        "x" * 300,
    ):
        words = await why(script(fails.format(leak, PASSWORD)))
        assert words.endswith("its words are not shown, they may hold the secret")
    assert "printed nothing" in await why(script("pass"))
    missing = await why(Secret(Command(("/nonexistent/token", PASSWORD))))
    assert missing == "the command /nonexistent/token cannot be started: No such file or directory"


async def test_a_command_gets_no_input_and_no_shell() -> None:
    assert await script("import sys; print(sys.stdin.read() + 'end')").read() == "end"
    assert await Secret(Command(("/bin/echo", "$HOME; echo no"))).read() == "$HOME; echo no"


async def test_a_command_that_hangs_is_ended_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_COMMAND_SECONDS", 0.5)
    sign = tmp_path / "alive"
    child = f"sleep 2; touch {sign}"
    begun = time.monotonic()
    hangs = Secret(Command(("/bin/sh", "-c", f"({child}) & sleep 60")))
    assert "had not ended after" in await why(hangs)
    assert time.monotonic() - begun < 1.9
    await asyncio.sleep(2.2)
    assert not sign.exists()


async def test_a_cancelled_read_leaves_no_command_behind(tmp_path: Path) -> None:
    sign = tmp_path / "alive"
    reading = asyncio.create_task(
        Secret(Command(("/bin/sh", "-c", f"sleep 1; touch {sign}"))).read()
    )
    await asyncio.sleep(0.2)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await asyncio.sleep(1.3)
    assert not sign.exists()


async def test_a_command_that_never_stops_printing_fills_no_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_COMMAND_SECONDS", 0.5)
    assert "had not ended" in await why(Secret(Command(("yes",))))
    assert "printed more than" in await why(script("print('x' * 200_000)"))


def test_nothing_shows_a_secret(tmp_path: Path) -> None:
    for secret in (
        Secret(Inline(PASSWORD)),
        Secret(Command(("token", PASSWORD))),
        ADAPTER.validate_python(PASSWORD),
    ):
        told = (
            f"{secret!r} {secret} {secret.place} {secret.warning()} {ADAPTER.dump_json(secret)!r}"
        )
        assert PASSWORD not in told
        assert "àss" not in told
        with pytest.raises(TypeError):
            pickle.dumps(secret)
    assert PASSWORD not in repr(Inline(PASSWORD))
    assert PASSWORD not in repr(Command(("token", PASSWORD)))


@pytest.mark.parametrize(
    "value",
    [
        *("", 7, True, [], {}, {"file": ""}, {"file": 7}, {"file": "/a", "env": "B"}),
        *({"fil": "hush"}, {"env": "$HUSH"}, {"env": ""}, {"credential": "../hush"}),
        *({"credential": ""}, {"command": "hush hush"}, {"command": []}, {"command": [""]}),
        {"command": ["hush", 1]},
    ],
)
def test_what_is_no_place_is_told_the_forms_and_not_repeated(value: object) -> None:
    with pytest.raises(ValidationError) as refused:
        ADAPTER.validate_python(value)
    (error,) = refused.value.errors()
    assert "allowed: " in error["msg"]
    assert "hush" not in error["msg"].lower()


@pytest.mark.parametrize(
    ("value", "source"),
    [
        ("x", Inline("x")),
        ({"file": "/a"}, File(Path("/a"))),
        ({"env": "A_B"}, Environment("A_B")),
        ({"credential": "mail-box.1"}, Credential("mail-box.1")),
        ({"command": ["a", ""]}, Command(("a", ""))),
    ],
)
def test_every_form_is_read(value: object, source: module.Source) -> None:
    assert ADAPTER.validate_python(value) == Secret(source)
    assert hash(ADAPTER.validate_python(value)) == hash(Secret(source))
    assert ADAPTER.validate_python(value) != Secret(Inline("other"))


def test_a_file_open_to_others_is_warned_about(tmp_path: Path) -> None:
    file = tmp_path / "mailbox"
    file.write_text("x")
    for mode, warned in ((0o600, False), (0o640, True), (0o604, True), (0o400, False)):
        file.chmod(mode)
        warning = Secret(File(file)).warning()
        assert (warning is not None) is warned
        assert warning is None or "chmod 600" in warning
    assert Secret(File(tmp_path / "missing")).warning() is None
    assert "copied with every backup" in (Secret(Inline("x")).warning() or "")
