"""The time of Redis, which stamps all ids. Part of `backend`.

The clocks of nodes differ. A duration back, the age of an event and the age of a node's line mean
the same on every node only if all of them use one clock. So a clock asks Redis for its time now and
then (`TIME`), and counts on from the answer with the monotonic clock. Steps of the machine's own
clock do not show in it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import redis.asyncio.cluster

from broadcaster.backend.driver.connect import AsyncClient
from broadcaster.backend.driver.errors import TROUBLE
from broadcaster.errors import BroadcasterError

logger = logging.getLogger(__name__)

ASK_EVERY_S = 10.0
_AGAIN_S = 1.0
_NO_ANSWER: tuple[type[Exception], ...] = (BroadcasterError, *TROUBLE)


def own_ms() -> int:
    """Return milliseconds since 1970 by this machine's clock."""
    return time.time_ns() // 1_000_000


async def redis_time_ms(client: AsyncClient) -> int:
    """Return milliseconds since 1970 by Redis's clock; on a Cluster, by that of one server.

    Raises:
        RedisError, OSError: Redis is away, or the user may not send `TIME`.
    """
    some: Any = client
    if isinstance(client, redis.asyncio.cluster.RedisCluster):
        await client.initialize()
        seconds, microseconds = await some.time(target_nodes=client.get_default_node())
    else:
        seconds, microseconds = await some.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


class Clock:
    """Redis's time. Before the first answer, and without an answer, it is this machine's time.

    Attributes:
        asked: set once the first question was answered, or could not be.
    """

    def __init__(self, ask: Callable[[], Awaitable[int]] | None = None) -> None:
        """Make a clock; nothing is asked before `look` or `follow`.

        Args:
            ask: returns Redis's time in milliseconds. None means that there is no other clock than
                this machine's.
        """
        self._ask = ask
        self._ahead_ms: float | None = None  # of the monotonic clock
        self._due_s = 0.0  # when to ask again, by the monotonic clock
        self.asked = asyncio.Event()
        if ask is None:
            self.asked.set()

    def now_ms(self) -> int:
        """Return milliseconds since 1970."""
        if self._ahead_ms is None:
            return own_ms()
        return int(time.monotonic() * 1000 + self._ahead_ms)

    async def look(self) -> None:
        """Ask Redis, if that is due. If it does not say the time, go on from its last answer."""
        began_s = time.monotonic()
        if self._ask is None or began_s < self._due_s:
            return
        self._due_s = began_s + _AGAIN_S
        try:
            redis_ms = await self._ask()
        except _NO_ANSWER as error:
            # Also a user without the right to `TIME`, such as one made for an older version.
            level = logging.DEBUG if self.asked.is_set() else logging.INFO
            logger.log(level, "Redis does not say the time, so it is this machine's: %s", error)
            return
        finally:
            self.asked.set()
        now_s = time.monotonic()
        self._due_s = now_s + ASK_EVERY_S
        # The answer was made at some moment between the question and now.
        self._ahead_ms = redis_ms - (began_s + now_s) / 2 * 1000

    async def follow(self) -> None:
        """Ask again and again, until cancelled."""
        while self._ask is not None:
            await self.look()
            await asyncio.sleep(max(0.0, self._due_s - time.monotonic()))
