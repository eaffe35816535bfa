"""Logging of our own processes: for people on a terminal, one JSON object a line otherwise.

A library leaves logging to the program that uses it, so this is for the commands alone.
"""

from __future__ import annotations

import logging
import re
import sys
from datetime import UTC, datetime
from typing import TextIO

import orjson

from broadcaster.errors import ConfigurationError

LEVELS = ("debug", "info", "warning", "error")
# C0 without the line feed, DEL, and C1: what could move the cursor or rewrite a line.
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """The text with control characters (but line feeds) written out: `\\x1b` for an escape.

    Types, keys and paths come from outside, and a terminal obeys what it is sent.
    """
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def set_up(level: str) -> None:
    """Log to stderr from now on.

    Args:
        level: debug, info, warning or error.

    Raises:
        ConfigurationError: it is none of them.
    """
    if level.lower() not in LEVELS:
        raise ConfigurationError(f"log_level {level!r} is none of: {', '.join(LEVELS)}")
    handler = _StderrHandler()
    handler.setFormatter(_Plain() if sys.stderr.isatty() else _Json())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    if level.lower() != "debug":
        # uvicorn tells at info that it starts and stops, which we tell in our own words, and
        # httpx tells of each request.
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        logging.getLogger("httpx").setLevel(logging.WARNING)


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is at that moment: a live display takes its place for a time."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        raise NotImplementedError


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """What was logged with `extra={"fields": {…}}`."""
    fields: dict[str, object] = getattr(record, "fields", {})
    return fields


class _Plain(logging.Formatter):
    """`12:00:00 warning broadcaster.app: text`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        return printable(super().format(record)) + printable(fields).replace("\n", "\\x0a")


class _Json(logging.Formatter):
    """One JSON object a line, in UTC, without control characters."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # JSON must escape C0; DEL and C1, which a terminal obeys as well, it may leave as they are.
        return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", orjson.dumps(line).decode())
