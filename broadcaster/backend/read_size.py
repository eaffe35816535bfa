"""The number of entries that a read asks for, within the limits of Redis. Part of `backend`.

An operator can limit what Redis does for one client, and Redis closes the connection of a client
that goes over a limit. A read that is too large fails each time, so the next one asks for less.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import redis.asyncio
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import TimeoutError as RedisTimeout

from broadcaster.backend.driver.errors import TROUBLE

logger = logging.getLogger(__name__)

_FORGET_S = 60.0
"""The limit may be higher now, or the large events gone. So more is tried after a while."""
_UNEXPLAINED_S = 1.0
"""A restart or `CLIENT KILL` closes connections, too. The next read is not cut by these."""
_CLOSED = ("Connection closed by server", "Error while reading")
_LIMITS = {
    "client_output_buffer_limit_disconnections": "client-output-buffer-limit",
    "evicted_clients": "maxmemory-clients",
    "client_query_buffer_limit_disconnections": "client-query-buffer-limit",
}
"""The settings of Redis that close connections, by their counter in `INFO stats`."""


class ReadSize:
    """The number of entries that a read of one stream asks for.

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
        self._hits: Mapping[str, int] = {}  # how often each limit of Redis was hit, as last seen
        self._unexplained_s: float | None = None  # the first close that no limit explains

    def worked(self) -> None:
        """Note that a read was answered. The next one may ask for more."""
        self._unexplained_s = None
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
            return
        closed = isinstance(error, NoConnection) and str(error).startswith(_CLOSED)
        limit = self._may_be_cut(await limits_hit(client)) if closed else ""
        if limit:
            self.count = self._ceiling = max(1, min(self.count, asked // 4))
            self._lowered_s = self._now_s()
            logger.warning(
                "stream %r: Redis closed the connection during a read of %d entries (%s); the next "
                "reads ask for %d",
                self._stream,
                asked,
                limit,
                self.count,
            )

    def _may_be_cut(self, hits: Mapping[str, int] | None) -> str:
        """Return why a reply may have been too large; empty if that is not likely.

        Args:
            hits: how often each limit was hit; None if it is not known.
        """
        if hits is None:
            return "perhaps client-output-buffer-limit or maxmemory-clients, see INFO stats"
        new = [limit for limit, count in hits.items() if count and count != self._hits.get(limit)]
        self._hits = hits
        if new:
            return " or ".join(new)
        if self._unexplained_s is None:
            self._unexplained_s = self._now_s()
        again = self._now_s() - self._unexplained_s >= _UNEXPLAINED_S
        return "no limit of Redis was hit" if again else ""


async def limits_hit(client: Any) -> dict[str, int] | None:
    """Return how often Redis has closed a connection because of each limit; None if not known."""
    if not isinstance(client, redis.asyncio.Redis):
        return None
    try:
        stats = await client.info("stats")
    except TROUBLE:  # a node needs no right to ask
        return None
    return {setting: int(stats.get(counter, 0)) for counter, setting in _LIMITS.items()}
