"""The places of keys: a text, a file, or a url. Each place looks by itself for changes of its keys.

A file is read again when it has changed. What is elsewhere is fetched again when it is old, and
when a key is missing; a bound on the rate keeps made-up key ids from asking for it all the time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Protocol

from broadcaster.errors import BackendUnavailableError
from broadcaster.settings.kept import Kept
from broadcaster.web.tokens.signed import Key

logger = logging.getLogger(__name__)

FETCH_S = 10.0
"""Seconds between two fetches at the least."""
FRESH_S = 300.0
"""Seconds after which keys are fetched again, while the ones that are there go on to serve."""


class KeySource(Protocol):
    """A place that has keys.

    Attributes:
        keys: those that it has, as far as is known.
        version: changes with them.
    """

    keys: Sequence[Key]
    version: int

    def look(self) -> None:
        """Look whether the keys have changed. It never waits."""

    def may_have(self, algorithm: str) -> bool:
        """Return True if a key that is not known may be found by `find`."""

    async def find(self) -> None:
        """Look for keys that are missing.

        Raises:
            BackendUnavailableError: the place can't be asked now.
        """


class GivenKeys:
    """Keys that never change."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self.keys = keys
        self.version = 0

    def look(self) -> None:
        """Do nothing."""

    def may_have(self, _: str) -> bool:
        """Return False."""
        return False

    async def find(self) -> None:
        """Find no more."""


class FileKeys:
    """Keys in a file, as `KeySource`."""

    def __init__(self, path: str, parse: Callable[[bytes], Sequence[Key]]) -> None:
        """Read the file.

        Args:
            path: of the file.
            parse: returns the keys in it; raises a ValueError if it can't.

        Raises:
            ConfigurationError: the file can't be read, or has no key.
        """
        self._file = Kept(path, parse, "key")
        self.keys, self.version = self._file.value, self._file.version

    def look(self) -> None:
        """Read the file again if it has changed. If it can't be read, the keys stay."""
        self._file.look()
        self.keys, self.version = self._file.value, self._file.version

    def may_have(self, algorithm: str) -> bool:
        """Return False: all keys of the file are known."""
        return False

    async def find(self) -> None:
        """Find no more."""


class FetchedKeys:
    """Keys that are fetched, as `KeySource`. Its methods need a running event loop."""

    def __init__(
        self,
        place: str,
        algorithms: Collection[str],
        fetch: Callable[[], Awaitable[Sequence[Key]]],
    ) -> None:
        """Name the place; nothing is fetched yet.

        Args:
            place: for messages.
            algorithms: that a key of this place may be for.
            fetch: returns the keys. It raises a `BackendUnavailableError` if it can't.
        """
        self.keys: Sequence[Key] = ()
        self.version = 0
        self._place = place
        self._algorithms = algorithms
        self._fetch = fetch
        self._begun_s = self._fetched_s = float("-inf")
        self._fetching: asyncio.Task[bool] | None = None

    def look(self) -> None:
        """Begin to fetch the keys again if they are old."""
        now_s = time.monotonic()
        if self.keys and now_s - self._fetched_s > FRESH_S and now_s - self._begun_s > FETCH_S:
            self._begin()

    def may_have(self, algorithm: str) -> bool:
        """Return False just after a fetch: an issuer publishes a key before it signs with it."""
        recent = time.monotonic() - self._fetched_s < FETCH_S
        return algorithm in self._algorithms and not recent

    async def find(self) -> None:
        """Fetch the keys, unless that was tried a moment ago.

        Raises:
            BackendUnavailableError: they can't be fetched now.
        """
        fetching = self._fetching
        if fetching is None or fetching.done():
            if time.monotonic() - self._begun_s < FETCH_S:
                raise BackendUnavailableError(f"{self._place} was asked a moment ago")
            fetching = self._begin()
        if not await asyncio.shield(fetching):
            raise BackendUnavailableError(f"{self._place} has no keys now")

    def _begin(self) -> asyncio.Task[bool]:
        self._begun_s = time.monotonic()
        self._fetching = asyncio.create_task(self._renew())
        return self._fetching

    async def _renew(self) -> bool:
        try:
            keys = await self._fetch()
        except BackendUnavailableError as error:
            logger.warning("%s, so the keys stay as they were", error)
            return False
        self._fetched_s = time.monotonic()
        if keys != self.keys:
            self.keys = keys
            self.version += 1
        return True
