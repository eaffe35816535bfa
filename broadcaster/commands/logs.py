"""Logging of the commands: text on a terminal, otherwise one JSON object per line.

A library leaves logging to the program that uses it. So only the commands use this module.
"""

from __future__ import annotations

import logging
import re
import select
import sys
from datetime import UTC, datetime
from typing import TextIO

import orjson

from broadcaster.commands.output import write_at_once
from broadcaster.errors import ConfigurationError

LEVELS = ("debug", "info", "warning", "error")
# C0 without the line feed, DEL, and C1. They could move the cursor or rewrite a line.
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """Return the text with control characters, except line feeds, as escapes such as `\\x1b`.

    Types, keys and paths come from outside, and a terminal would obey control characters in them.
    """
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def set_up(level: str) -> None:
    """Log to stderr from now on.

    Args:
        level: debug, info, warning or error.

    Raises:
        ConfigurationError: `level` is none of these.
    """
    if level.lower() not in LEVELS:
        raise ConfigurationError(f"log_level {level!r} is none of: {', '.join(LEVELS)}")
    handler = _StderrHandler()
    handler.setFormatter(_Plain() if sys.stderr.isatty() else _Json())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    if level.lower() != "debug":
        # At info, uvicorn logs its start and stop, which we print ourselves, and httpx logs each
        # request.
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        logging.getLogger("httpx").setLevel(logging.WARNING)


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to the current `sys.stderr`, because a live display replaces it for a time.

    It never waits. While the reader of a pipe or a terminal is stopped, lines are lost and counted:
    a node that waited would serve no client.
    """

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self._lost = 0
        self._torn = b""  # ends a line that was written in part

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, if that is possible at once."""
        if self.stream is not sys.__stderr__ or not hasattr(select, "poll"):
            super().emit(record)
            return
        try:
            lines = [self._torn, *map(self._line, [*self._notes(), record])]
            data = b"".join(lines)
            written = write_at_once(self.stream.fileno(), data)
            if written == len(data):
                self._lost, self._torn = 0, b""
            else:
                self._lost += 1
                if written:
                    self._torn = b"\n"
        except Exception:
            self.handleError(record)

    def _line(self, record: logging.LogRecord) -> bytes:
        return f"{self.format(record)}\n".encode(errors="backslashreplace")

    def _notes(self) -> list[logging.LogRecord]:
        if not self._lost:
            return []
        text = f"{self._lost} lines are lost: they could not be written at once"
        return [logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, (), None)]

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        raise NotImplementedError


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """Return the fields that were logged with `extra={"fields": {…}}`."""
    fields: dict[str, object] = getattr(record, "fields", {})
    return fields


class _Plain(logging.Formatter):
    """Formats a record as `12:00:00 warning broadcaster.app: text`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        return printable(super().format(record)) + printable(fields).replace("\n", "\\x0a")


class _Json(logging.Formatter):
    """Formats a record as one line of JSON, with UTC times and without control characters."""

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
        # JSON escapes C0 but not DEL and C1, which a terminal obeys too.
        return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", orjson.dumps(line).decode())
