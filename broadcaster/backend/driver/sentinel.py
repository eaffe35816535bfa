"""Clients that stay with the master that the sentinels name. Part of `backend`, for `client`.

redis-py asks the sentinels only when it opens a connection, and believes the first one that
answers. That leaves a reader where it is in two cases: a master that the sentinels have lost and
replaced, but that we still reach, goes on to answer `XREAD` as if nothing had happened; and a
sentinel on its side of a partition sends us back to it. Here a pool asks again every `LOOK_S`
while it is used, and the highest configuration epoch wins: each failover has a greater one
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

LOOK_S = 1.0
"""Seconds that a pool trusts an answer of the sentinels."""
_ANSWER_S = 1.0
_SHARE = 10  # at most one tenth of the time goes into waiting for sentinels that do not answer

_Address: TypeAlias = tuple[str, int]


def sentinel_options(options: dict[str, Any]) -> dict[str, Any]:
    """Options for connections to sentinels: they answer at once, or not in time to be of use."""
    limit = {name: min(options.get(name) or _ANSWER_S, _ANSWER_S) for name in _TIMEOUTS}
    return options | limit


_TIMEOUTS = ("socket_timeout", "socket_connect_timeout")


class Sentinels(redis.asyncio.sentinel.Sentinel):
    """Asks all sentinels at once."""

    async def discover_master(self, service_name: str) -> _Address:
        """The address of the master that most sentinels, or the newest of them, know.

        Raises:
            MasterNotFoundError: nobody answers, or the master is down.
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
            # The rest end by themselves within their own timeout; cancelling them would cost a
            # connection each time. What they say is heard at the next look.
            for late in asked:
                late.add_done_callback(_forget)
        return _newest(states, service_name, redis.asyncio.sentinel.MasterNotFoundError)


class SentinelPool(redis.asyncio.sentinel.SentinelConnectionPool):
    """A pool that leaves a master that is not the master any more.

    Closed, it closes the connections to the sentinels as well as its own.
    """

    def __init__(self, service_name: str, sentinel_manager: Any, **options: Any) -> None:
        super().__init__(service_name, sentinel_manager, **options)  # type: ignore[no-untyped-call]
        self._trusted_until = 0.0
        self._looking = asyncio.Lock()

    async def get_connection(self, *_: Any, **__: Any) -> Any:
        """A connection to the master, as of `LOOK_S` ago at the most."""
        if time.monotonic() >= self._trusted_until:
            async with self._looking:  # all who come meanwhile wait for one answer
                if time.monotonic() >= self._trusted_until:
                    await self._look()
        return await super().get_connection()  # type: ignore[no-untyped-call]

    async def _look(self) -> None:
        asked, before = time.monotonic(), self.master_address
        # If nobody knows a master, what still answers is used.
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
    """As `Sentinels`, blocking: asks one after the other until most have answered."""

    def discover_master(self, service_name: str) -> _Address:
        """As `Sentinels.discover_master`."""
        states: list[Any] = []
        for sentinel in self.sentinels:
            with suppress(RedisError, OSError):
                states.append(sentinel.sentinel_master(service_name))
            if _are_most(states, self.sentinels):
                break
        return _newest(states, service_name, redis.sentinel.MasterNotFoundError)


class SyncSentinelPool(redis.sentinel.SentinelConnectionPool):
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
        """Close connections, with those to the sentinels if it is all of them."""
        super().disconnect(inuse_connections)
        if inuse_connections:
            self.sentinel_manager.close()


def _until(asked: float) -> float:
    """Until when to trust the answer to a question that was asked then, and is answered now."""
    now = time.monotonic()
    return now + max(LOOK_S, _SHARE * (now - asked))


def _are_most(states: Sequence[Any], sentinels: Sequence[Any]) -> bool:
    """Whether so many have answered that one of them knows of any failover.

    A sentinel that is cut off from the others can't start one: that needs most of their votes.
    """
    return len(states) * 2 > len(sentinels)


def _newest(states: list[Any], service_name: str, error: type[Exception]) -> _Address:
    best = max(states, key=lambda state: state["config-epoch"], default=None)
    if best is None:
        raise error(f"no sentinel tells of {service_name!r}")
    # The others' older answers are not asked: they name a master that has been replaced.
    same = [state for state in states if state["config-epoch"] == best["config-epoch"]]
    for state in same:
        if state["is_master"] and not (state["is_sdown"] or state["is_odown"]):
            return state["ip"], state["port"]
    raise error(f"the master {service_name!r} is down, and not yet replaced")


def _forget(late: asyncio.Future[Any]) -> None:
    if not late.cancelled():
        late.exception()
