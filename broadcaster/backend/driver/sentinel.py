"""Clients that follow the master that the sentinels name. Part of `backend.driver`.

redis-py asks the sentinels only when it opens a connection, and believes the first answer. A reader
then stays with an old master in two cases. The sentinels may have replaced a master that we still
reach, and it goes on answering `XREAD`. Or a sentinel on the old master's side of a partition sends
us back to it.

So a pool that is in use asks again every `LOOK_S`, and the highest configuration epoch wins, since
each failover has a greater one
(https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/#configuration-epochs).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import redis.asyncio.sentinel
import redis.sentinel
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import RedisError

from broadcaster.backend.driver.pools import OpenFirst, SyncOpenFirst

LOOK_S = 1.0
"""Seconds that a pool trusts an answer of the sentinels."""
_ANSWER_S = 1.0
_SHARE = 10  # at most one tenth of the time goes into waiting for sentinels that do not answer

_Address: TypeAlias = tuple[str, int]


def sentinel_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return options for connections to sentinels, with timeouts of at most 1 s."""
    limit = {name: min(options.get(name) or _ANSWER_S, _ANSWER_S) for name in _TIMEOUTS}
    return options | limit


_TIMEOUTS = ("socket_timeout", "socket_connect_timeout")


class Sentinels(redis.asyncio.sentinel.Sentinel):
    """Asks all sentinels at once."""

    async def discover_master(self, service_name: str) -> _Address:
        """Return the address of the master with the highest epoch, once most sentinels answered.

        Raises:
            MasterNotFoundError: no sentinel knows a master, or the master is down.
        """
        asked = [asyncio.ensure_future(s.sentinel_master(service_name)) for s in self.sentinels]
        states: list[Any] = []
        try:
            for answer in asyncio.as_completed(asked):
                with suppress(RedisError, OSError):
                    states.append(await answer)
                if _are_most(states, self.sentinels):
                    break
        finally:
            # The other questions end within their own timeout. Cancelling them would cost a
            # connection each. Their answers are not used: the pool asks again soon.
            for late in asked:
                late.add_done_callback(_forget)
        return _newest(states, service_name, redis.asyncio.sentinel.MasterNotFoundError)


class SentinelPool(OpenFirst, redis.asyncio.sentinel.SentinelConnectionPool):
    """A pool that leaves a server that is no longer the master.

    Closing the pool also closes the connections to the sentinels.
    """

    def __init__(self, service_name: str, sentinel_manager: Any, **options: Any) -> None:
        super().__init__(service_name, sentinel_manager, **options)  # type: ignore[no-untyped-call]
        self._trusted_until = 0.0
        self._looking = asyncio.Lock()

    async def get_connection(self, *_: Any, **__: Any) -> Any:
        """Return a connection to the master. The sentinels' answer may be as old as `LOOK_S`."""
        if time.monotonic() >= self._trusted_until:
            async with self._looking:  # concurrent callers wait for one answer
                if time.monotonic() >= self._trusted_until:
                    await self._look()
        return await super().get_connection()  # type: ignore[no-untyped-call]

    async def _look(self) -> None:
        asked, before = time.monotonic(), self.master_address
        # If no sentinel knows a master, the pool keeps the server that it has.
        with suppress(NoConnection):
            # Closes idle connections if the address is another one.
            await self.get_master_address()  # type: ignore[no-untyped-call]
        if self.master_address != before:
            await self.update_active_connections_for_reconnect()  # type: ignore[no-untyped-call]
        self._trusted_until = _until(asked)

    async def aclose(self) -> None:
        """Close all connections."""
        await super().aclose()
        await self.sentinel_manager.aclose()


class SyncSentinels(redis.sentinel.Sentinel):
    """As `Sentinels`, blocking. It asks one sentinel after another until most have answered."""

    def discover_master(self, service_name: str) -> _Address:
        """As `Sentinels.discover_master`."""
        states: list[Any] = []
        for sentinel in self.sentinels:
            with suppress(RedisError, OSError):
                states.append(sentinel.sentinel_master(service_name))
            if _are_most(states, self.sentinels):
                break
        return _newest(states, service_name, redis.sentinel.MasterNotFoundError)


class SyncSentinelPool(SyncOpenFirst, redis.sentinel.SentinelConnectionPool):
    """As `SentinelPool`, blocking."""

    def __init__(self, service_name: str, sentinel_manager: Any, **options: Any) -> None:
        super().__init__(service_name, sentinel_manager, **options)  # type: ignore[no-untyped-call]
        self._trusted_until = 0.0

    def get_connection(self, *_: Any, **__: Any) -> Any:
        """As `SentinelPool.get_connection`."""
        if (asked := time.monotonic()) >= self._trusted_until:
            with suppress(NoConnection):
                self.get_master_address()  # type: ignore[no-untyped-call]
            self._trusted_until = _until(asked)
        return super().get_connection()

    def disconnect(self, inuse_connections: bool = True) -> None:
        """Close connections; with those in use, also the connections to the sentinels."""
        super().disconnect(inuse_connections)
        if inuse_connections:
            self.sentinel_manager.close()


def _until(asked: float) -> float:
    """Return the time until which to trust an answer that has just come.

    Args:
        asked: the monotonic time of the question.
    """
    now = time.monotonic()
    return now + max(LOOK_S, _SHARE * (now - asked))


def _are_most(states: Sequence[Any], sentinels: Sequence[Any]) -> bool:
    """Return True if enough sentinels have answered for one of them to know of any failover.

    A failover needs the votes of most sentinels, so one of any majority knows of it.
    """
    return len(states) * 2 > len(sentinels)


def _newest(states: list[Any], service_name: str, error: type[Exception]) -> _Address:
    best = max(states, key=lambda state: state["config-epoch"], default=None)
    if best is None:
        raise error(f"no sentinel knows {service_name!r}")
    # Answers with an older epoch are ignored: they name a master that has been replaced.
    same = [state for state in states if state["config-epoch"] == best["config-epoch"]]
    for state in same:
        if state["is_master"] and not (state["is_sdown"] or state["is_odown"]):
            return state["ip"], state["port"]
    raise error(f"the master {service_name!r} is down, and not yet replaced")


def _forget(late: asyncio.Future[Any]) -> None:
    if not late.cancelled():
        late.exception()
