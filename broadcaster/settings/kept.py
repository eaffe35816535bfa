"""Values that are read from files. A file may change at any time, and its last good value stays."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from broadcaster.errors import ConfigurationError
from broadcaster.settings.files import Files

logger = logging.getLogger(__name__)

LOOK_S = 1.0
"""Seconds between two looks at a file."""

T = TypeVar("T")


class Kept(Generic[T]):
    """The value in a file.

    Attributes:
        value: of the file, when it could last be read.
        version: changes with the value.
    """

    def __init__(self, path: str, parse: Callable[[bytes], T], what: str) -> None:
        """Read the file.

        Args:
            path: of the file.
            parse: returns the value of its content; raises a ValueError if it can't.
            what: the file should have, for messages.

        Raises:
            ConfigurationError: the file can't be read, or has none of it.
        """
        self.version = 0
        self._path = path
        self._parse = parse
        self._what = what
        self._files = Files(path)
        self._trouble = ""
        self._looked_s = time.monotonic()
        try:
            self.value = parse(*self._files.read())
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"no {what} in {path!r}: {_why(error)}") from error

    def look(self) -> None:
        """Read the file again if it has changed. If it can't be read, the value stays."""
        now_s = time.monotonic()
        if now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        if not self._files.changed():
            return
        trouble = ""
        try:
            self.value = self._parse(*self._files.read())
            self.version += 1
        except (OSError, ValueError) as error:
            trouble = _why(error)
            if trouble != self._trouble:
                logger.warning("the %s in %r stays as it was: %s", self._what, self._path, trouble)
        self._trouble = trouble


def _why(error: Exception) -> str:
    return getattr(error, "strerror", "") or str(error)
