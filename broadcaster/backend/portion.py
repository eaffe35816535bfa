"""The number of entries that a read asks for, within the limits of Redis. Part of `backend`.

An operator can limit what Redis does for one client, and Redis closes the connection of a client
that goes over a limit. A read that is too large fails each time, so the next one asks for less.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import redis.asyncio
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import TimeoutError as RedisTimeout

from broadcaster.backend.driver.errors import TROUBLE

logger = logging.getLogger(__name__)

_FORGET_S = 60.0
"""Redis may also have been restarted in the middle of a reply. So more is tried after a while."""
_CLOSED = ("Connection closed by server", "Error while reading")
_LIMITS = {
    "client_output_buffer_limit_disconnections": "client-output-buffer-limit",
    "evicted_clients": "maxmemory-clients",
    "client_query_buffer_limit_disconnections": "client-query-buffer-limit",
}
"""The settings of Redis that close connections, by their counter in `INFO stats`."""


class Portion:
    """How many entries a read of one stream asks for.

    Attributes:
        count: the number.
    """

    def __init__(
        self, stream: str, most: int, *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin with the greatest number.

        Args:
            stream: its name, for the log.
            most: the greatest number.
            now_s: a clock.
        """
        self.count = most
        self._stream = stream
        self._most = self._ceiling = most
        self._now_s = now_s
        self._lowered_s = 0.0

    def worked(self) -> None:
        """Note that a read was answered. The next one may ask for more."""
        if self._ceiling < self._most and self._now_s() - self._lowered_s > _FORGET_S:
            self._ceiling, self._lowered_s = min(self._most, self._ceiling * 2), self._now_s()
        self.count = min(self._ceiling, self.count * 2)

    async def failed(self, error: BaseException, asked: int, client: Any) -> None:
        """Note that a read has failed. Ask for less, if the reply may have been too large.

        Args:
            error: of redis-py's.
            asked: the number of entries that the read asked for.
            client: is asked for the limit that was hit, if Redis has closed the connection.
        """
        if isinstance(error, TimeoutError | RedisTimeout):  # large events over a slow link
            self.count = max(1, min(self.count, asked // 4))
        elif isinstance(error, NoConnection) and str(error).startswith(_CLOSED):
            self.count = self._ceiling = max(1, min(self.count, asked // 4))
            self._lowered_s = self._now_s()
            logger.warning(
                "stream %r: Redis closed the connection during a read of %d entries (%s); the next "
                "reads ask for %d",
                self._stream,
                asked,
                await limit_hit(client),
                self.count,
            )


async def limit_hit(client: Any) -> str:
    """Return the setting of Redis that has closed connections, as far as it can be known."""
    if isinstance(client, redis.asyncio.Redis):
        try:
            stats = await client.info("stats")
        except TROUBLE:  # a node needs no right to ask
            pass
        else:
            hit = [setting for counter, setting in _LIMITS.items() if stats.get(counter)]
            return " or ".join(hit) or "no limit of Redis was hit"
    return "perhaps client-output-buffer-limit or maxmemory-clients, see INFO stats"
