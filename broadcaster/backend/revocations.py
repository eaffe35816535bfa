"""The Redis stream by which all nodes hear of revocations. Part of `backend`.

Each entry has a name: a subject or the id of a token. Its id is the time. A node reads the whole
stream each time that it has connected, since after a failover the server may be another one, whose
ids go on from an earlier time. Redis drops entries that concern no token any more.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import redis.asyncio.cluster

from broadcaster.backend.driver.connect import AsyncClient
from broadcaster.backend.driver.errors import TROUBLE, NotSentError, translated
from broadcaster.backend.driver.exchange import exchange
from broadcaster.backend.stream import RedisStream, id_of
from broadcaster.core.backoff import backoff_s
from broadcaster.core.entry import Row
from broadcaster.core.event import ZERO, EventId
from broadcaster.errors import InvalidRequestError

logger = logging.getLogger(__name__)

MAX_NAME_BYTES = 1024
_BLOCK_S = 1.0
_LOOK_S = 0.001  # the least BLOCK: 0 would be for ever
_BACKOFF_S = (0.1, 2.0)
_COUNT = 1000
_NAME = b"name"
# More than there ever are: Redis answers at the end of the time with the number that it has.
_ALL_REPLICAS = 1000
_REPLICAS_MS = 500

Heard: TypeAlias = Callable[[Sequence[tuple[str, int]]], Awaitable[None]]
"""Gets the names and the times of revocations, in milliseconds since 1970."""


class Revoked(NamedTuple):
    """A revocation that is in Redis.

    Attributes:
        id: its id. The first number is its time, in milliseconds since 1970.
        replicas: the number of replicas that have it, too; None if Redis does not say.
    """

    id: EventId
    replicas: int | None


class RevocationStream:
    """Reads and writes revocations.

    Attributes:
        problem: why it can't be read now; empty if it can.
        read: set once it was read to its end.
    """

    def __init__(self, client: AsyncClient, redis_key: str) -> None:
        """Name the stream; nothing is sent yet.

        Args:
            client: of its own, whose timeout is above a second. The caller closes it.
            redis_key: of the stream.
        """
        self._client = client
        self._stream = RedisStream(client, redis_key)
        self._key = redis_key
        self.problem = "not read yet"
        self.read = asyncio.Event()

    async def revoke(self, name: str, keep_s: float) -> Revoked:
        """Add a revocation, and wait up to half a second for replicas.

        Args:
            name: a subject or the id of a token.
            keep_s: seconds after which revocations concern no token any more.

        Raises:
            InvalidRequestError: the name is empty or too long.
            BackendUnavailableError: Redis is away; it may have the revocation. Call again.
            ConfigurationError: Redis refuses it for good.
        """
        if not 0 < len(name.encode()) <= MAX_NAME_BYTES:
            raise InvalidRequestError(f"a name has 1 to {MAX_NAME_BYTES} bytes in UTF-8")
        oldest_ms = max(0, int((time.time() - keep_s) * 1000))
        add = ("XADD", self._key, "MINID", "~", oldest_ms, "*", _NAME, name.encode())
        is_cluster = isinstance(self._client, redis.asyncio.cluster.RedisCluster)
        wait = [] if is_cluster else [("WAIT", _ALL_REPLICAS, _REPLICAS_MS)]
        replies: list[Any] = []
        try:
            await exchange(self._client, [add, *wait], replies)
        except NotSentError as error:
            raise translated(error.__cause__, f"revoke {name!r}") from error
        except TROUBLE as error:
            if not replies:
                raise translated(error, f"revoke {name!r}") from error
        if isinstance(replies[0], Exception):
            raise translated(replies[0], f"revoke {name!r}") from replies[0]
        told = replies[1] if len(replies) > 1 else None
        return Revoked(EventId.of_entry(replies[0]), told if isinstance(told, int) else None)

    async def follow(self, revoked: Heard) -> None:
        """Read all revocations, and then each new one as it comes, until cancelled.

        While Redis is away, it waits and tries again.

        Args:
            revoked: gets what was read. After a reconnect it gets all of it again.
        """
        failures = 0
        while True:
            try:
                await self._follow(revoked)
                failures = 0
            except TROUBLE as error:
                self.problem = str(error) or type(error).__name__
                if failures == 0:
                    logger.warning("revocations can't be read, trying again: %s", self.problem)
                await asyncio.sleep(backoff_s(failures, *_BACKOFF_S, random.random()))
                failures += 1

    async def _follow(self, revoked: Heard) -> None:
        """Read over one connection, until it is another one."""
        position = ZERO
        while rows := await self._stream.wait_after(position, _COUNT, _LOOK_S):
            position = await _passed_on(rows, revoked)
        connection = self._stream.connections
        while self._stream.connections == connection:
            self.problem = ""
            self.read.set()
            if rows := await self._stream.wait_after(position, _COUNT, _BLOCK_S):
                position = await _passed_on(rows, revoked)


async def _passed_on(rows: Sequence[Row], revoked: Heard) -> EventId:
    """Pass on what was read, and return the position after it."""
    await revoked(_read(rows))
    return id_of(rows[-1])


def _read(rows: Sequence[Row]) -> list[tuple[str, int]]:
    found = []
    for id_, fields in rows:
        named = dict(zip(fields[::2], fields[1::2], strict=False))
        if _NAME in named:  # anything else is no entry of ours
            found.append((named[_NAME].decode("utf-8", "replace"), EventId.of_entry(id_).ms))
    return found
