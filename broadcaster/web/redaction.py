"""Keeps tickets and tokens out of the access log of uvicorn, whose lines have the whole url."""

from __future__ import annotations

import logging
import re

from broadcaster.core.access.presented import TICKET_PARAM

_SECRET = re.compile(rf"((?:^|[?&])(?:{TICKET_PARAM}|access_token)=)[^&\s\"]+", re.IGNORECASE)
_LOGGER = "uvicorn.access"


def redacted(text: str) -> str:
    """Return a text with urls, without the values of tickets and tokens in them."""
    return _SECRET.sub(r"\1…", text)


class _Redaction(logging.Filter):
    """Changes the arguments of a line before it is written. It drops no line."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                redacted(arg) if isinstance(arg, str) else arg for arg in record.args
            )
        return True


_REDACTION = _Redaction()


def redact_access_log() -> None:
    """Redact the access log of uvicorn from now on. May be called again.

    `broadcaster serve` writes none. A hub under another's uvicorn has one by default.
    """
    logging.getLogger(_LOGGER).addFilter(_REDACTION)  # the same one is added once
