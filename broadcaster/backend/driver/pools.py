"""Pools that give out open connections first. Part of `backend.driver`.

redis-py gives out the connection that came back last. That may be one that could not be opened, for
instance because Redis has `maxclients` already. Then command after command tries to open it, and
fails, while the pool has open connections that nothing uses.
"""

from __future__ import annotations

from typing import Any

import redis.asyncio
import redis.connection


class OpenFirst:
    """Goes in front of a pool of redis-py for asyncio."""

    async def release(self, connection: Any) -> None:
        """Take a connection back. A closed one is the last that is given out again."""
        await super().release(connection)  # type: ignore[misc]
        _put_last(self, connection)


class SyncOpenFirst:
    """As `OpenFirst`, for a pool that blocks."""

    def release(self, connection: Any) -> None:
        """As `OpenFirst.release`."""
        super().release(connection)  # type: ignore[misc]
        with self._lock:  # type: ignore[attr-defined]
            _put_last(self, connection)


def _put_last(pool: Any, connection: Any) -> None:
    free: list[Any] = pool._available_connections
    if not connection.is_connected and connection in free:
        free.remove(connection)
        free.insert(0, connection)


class Pool(OpenFirst, redis.asyncio.ConnectionPool):
    """The pool of a client of one server."""


class SyncPool(SyncOpenFirst, redis.connection.ConnectionPool):
    """As `Pool`, blocking."""
