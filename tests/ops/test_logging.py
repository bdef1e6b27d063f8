"""The log as the operator's machine gets it."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from mailbridge.ops.logging import LogFormat, configure, is_journal
from mailbridge.ops.redaction import Redactor

RELAY = "c.1a2b3c4d5e6f708192a3b4c5d6e7f809@clemarche.com"


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    names = ("mailbridge", "aioimaplib", "zeep")
    levels = {name: logging.getLogger(name).level for name in names}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)
    logging.captureWarnings(False)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def logged(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_line_with_what_is_looked_for_first_in_front() -> None:
    stream = io.StringIO()
    configure(stream=stream, environ={})
    structlog.contextvars.bind_contextvars(account="shop")
    log = structlog.get_logger("mailbridge.bridge.filing")
    log.info("mail filed", uid=7, discussion="cd-3c2e7r", subject="été\nfaux")
    [line] = logged(stream)
    assert list(line)[:5] == ["time", "level", "event", "account", "discussion"]
    assert line | {"time": ""} == {
        "time": "",
        "level": "info",
        "event": "mail filed",
        "account": "shop",
        "discussion": "cd-3c2e7r",
        "uid": 7,
        "subject": "été faux",
    }
    assert line["time"].endswith("Z")
    assert "été" in stream.getvalue()  # readable in the journal, not \u00e9


def test_nothing_secret_gets_through_by_event_value_or_traceback() -> None:
    stream = io.StringIO()
    redactor = configure(stream=stream, environ={}, redactor=Redactor(["me@shop.example"]))
    redactor.learn("hunter2-long")
    log = structlog.get_logger("mailbridge.x")
    password = "hunter2-long"
    try:
        raise ConnectionError(f"could not mail {RELAY} with {password}")
    except ConnectionError:
        log.exception(f"sending to {RELAY} failed", by="me@shop.example", for_="jean@orange.fr")
    [line] = logged(stream)
    assert line["event"] == "sending to c.1a2b…@clemarche.com failed"
    assert (line["by"], line["for_"]) == ("me@shop.example", "j…@orange.fr")
    assert "ConnectionError: could not mail c.1a2b…@clemarche.com" in line["exception"]
    assert "hunter2" not in stream.getvalue()
    assert RELAY not in stream.getvalue()


def test_levels_are_ours_and_libraries_speak_from_warnings_on() -> None:
    stream = io.StringIO()
    configure(level="debug", stream=stream, environ={})
    structlog.get_logger("mailbridge.x").debug("looked")
    logging.getLogger("httpx").info("HTTP Request: GET https://hc.example/uuid")
    logging.getLogger("httpx").warning("odd %s", "thing")
    assert [(line["level"], line["event"]) for line in logged(stream)] == [
        ("debug", "looked"),
        ("warning", "odd thing"),
    ]
    assert logged(stream)[1]["logger"] == "httpx"

    stream = io.StringIO()
    configure(level="warning", stream=stream, environ={})
    structlog.get_logger("mailbridge.x").info("not now")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("name", ["aioimaplib.aioimaplib", "zeep.transports", "aiosmtpd"])
def test_debug_of_a_library_never_passes_even_if_somebody_turns_it_on(name: str) -> None:
    stream = io.StringIO()
    configure(level="debug", stream=stream, environ={})
    library = logging.getLogger(name)
    library.setLevel(logging.DEBUG)
    try:
        library.debug("A1 LOGIN support hunter2")
        library.warning("connection lost")
    finally:
        library.setLevel(logging.NOTSET)
    assert [line["event"] for line in logged(stream)] == ["connection lost"]


def test_python_warnings_come_the_same_way() -> None:
    stream = io.StringIO()
    configure(stream=stream, environ={})
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old call", DeprecationWarning, stacklevel=1)
    assert "old call" in logged(stream)[0]["event"]


def test_configuring_twice_writes_once() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure(stream=first, environ={})
    configure(stream=second, environ={})
    structlog.get_logger("mailbridge.x").info("once")
    assert first.getvalue() == ""
    assert len(logged(second)) == 1


def test_the_journal_gets_levels_and_only_the_real_journal_does(tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w+") as stream:
        status = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        assert is_journal(stream, environ)
        configure(stream=stream, environ=environ)
        log = structlog.get_logger("mailbridge.x")
        log.info("fine")
        log.error("bad")
        try:
            raise ValueError
        except ValueError:
            log.exception("worse")
        stream.seek(0)
        lines = stream.read().splitlines()
    assert [line[:4] for line in lines] == ["<6>{", "<3>{", "<3>{"]
    assert json.loads(lines[2][3:])["event"] == "worse"

    with (tmp_path / "elsewhere").open("w") as other:
        assert not is_journal(other, environ)
    assert not is_journal(io.StringIO(), environ)
    assert not is_journal(sys.stderr, {"JOURNAL_STREAM": "nonsense"})


def test_a_terminal_gets_words_and_colours() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    configure(stream=stream, environ={})
    structlog.get_logger("mailbridge.x").info("mail filed", discussion="cd-1", to=RELAY)
    [line] = stream.getvalue().splitlines()
    assert "mail filed" in line
    assert "\x1b[" in line
    assert "c.1a2b…@clemarche.com" in line


def test_console_can_be_asked_for_without_a_terminal_and_has_no_colours() -> None:
    stream = io.StringIO()
    configure(stream=stream, environ={}, log_format=LogFormat("console"))
    log = structlog.get_logger("mailbridge.x")
    try:
        raise ValueError("why")
    except ValueError:
        log.exception("mail not filed", discussion="cd-1")
    assert "mail not filed" in stream.getvalue()
    assert "ValueError: why" in stream.getvalue()
    assert "\x1b[" not in stream.getvalue()
