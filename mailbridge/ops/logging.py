"""How the daemon writes its log: one line per event, to stderr.

An event is a short phrase with named values: `log.info("mail filed", account=…, discussion=…)`.
Under systemd it is JSON with the journal's level prefix (sd-daemon(3)), elsewhere JSON unless
stderr is a terminal, which gets colours. The log of the libraries comes the same way, from
warnings on only: at DEBUG aioimaplib writes the sign-in and zeep the access token, so nothing
below a warning of theirs passes, whatever levels others set. Every line goes through a
`Redactor`. What is worth logging is decided by whoever logs it.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping, MutableMapping
from enum import StrEnum
from typing import IO, Any

import structlog
from structlog.typing import Processor

from mailbridge.ops.redaction import Redactor

__all__ = ["LogFormat", "configure", "is_journal"]

OURS = "mailbridge"
_TALKATIVE = ("aioimaplib", "zeep")
# sd-daemon(3): the level of a line for the journal.
_PREFIXES = {"debug": "<7>", "info": "<6>", "warning": "<4>", "error": "<3>", "critical": "<2>"}
_FIRST = ("time", "level", "event", "account", "discussion")


class LogFormat(StrEnum):
    """The values are those of the configuration file."""

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


def configure(
    *,
    level: str = "info",
    log_format: LogFormat = LogFormat.AUTO,
    redactor: Redactor | None = None,
    stream: IO[str] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Redactor:
    """Set up structlog and the standard library's logging; may be called again.

    `level` (debug, info, warning, error) is for our own events; libraries are heard from
    warnings on. Gives the redactor in use, which learns secrets as they are fetched.
    """
    stream = sys.stderr if stream is None else stream
    redactor = Redactor() if redactor is None else redactor
    journal = is_journal(stream, environ)
    if log_format is LogFormat.AUTO:
        terminal = not journal and stream.isatty()
        log_format = LogFormat.CONSOLE if terminal else LogFormat.JSON

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        # Never with local variables: they hold passwords and customers' words.
        structlog.processors.format_exc_info,
    ]
    renderer: list[Processor]
    if log_format is LogFormat.CONSOLE:
        renderer = [
            structlog.dev.ConsoleRenderer(
                colors=stream.isatty(),
                timestamp_key="time",
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    else:
        renderer = [_JsonLine(prefix=journal)]

    handler = _Handler(stream)
    handler.addFilter(_heard)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                redactor,
                *renderer,
            ],
        )
    )
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(OURS).setLevel(level.upper())
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)

    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    return redactor


def is_journal(stream: IO[str], environ: Mapping[str, str]) -> bool:
    """Whether the stream goes to the journal itself (systemd.exec(5), JOURNAL_STREAM).

    The variable is inherited by children whose stderr was redirected, hence the comparison.
    """
    try:
        device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
        status = os.fstat(stream.fileno())
        return (status.st_dev, status.st_ino) == (int(device), int(inode))
    except (OSError, ValueError):
        return False


def _heard(record: logging.LogRecord) -> bool:
    name = record.name
    return name == OURS or name.startswith(f"{OURS}.") or record.levelno >= logging.WARNING


class _Handler(logging.StreamHandler[IO[str]]):
    """Ours, so that a second `configure` finds it."""


class _JsonLine:
    """The last processor: an event as one line of JSON, what a reader looks for first in front."""

    def __init__(self, *, prefix: bool) -> None:
        self._prefix = prefix

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
        ordered = {key: event[key] for key in _FIRST if key in event} | dict(event)
        line = json.dumps(ordered, ensure_ascii=False, default=str)
        return _PREFIXES.get(str(event.get("level")), "<6>") + line if self._prefix else line
