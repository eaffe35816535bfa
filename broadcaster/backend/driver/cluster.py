"""A Cluster client that finds its way after a failover. Part of `backend`, for `client`.

What redis-py's own does, and a long-lived reader or publisher can't live with:

* It asks a server for the keys of each `XREAD`: a second round trip, and to one server for all
  streams, so that streams on healthy masters can't be read while that one is down.
* Some of its errors are no `RedisError`.
* A pipeline that meets a dead master does not look where its slots have gone.
* When all servers have moved, it knows only the addresses that they had, not those of the url.
* Several commands before the first has found the servers go anywhere, are redirected, and, at the
  fifth redirection, cut off.
* Closed in the middle of trouble, it leaves connections open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import redis.asyncio.cluster
import redis.cluster
from redis.exceptions import (
    ClusterDownError,
    RedisClusterException,
    SlotNotCoveredError,
)
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import TimeoutError as NoAnswer

_STREAMS = (b"STREAMS", "STREAMS")
_READS = ("XREAD", "XREADGROUP")
_LOST = (NoConnection, NoAnswer, ClusterDownError, OSError)


class Cluster(redis.asyncio.cluster.RedisCluster):
    """Raises `ClusterDownError`, a `RedisError`, while it does not know who has a slot."""

    _loop: asyncio.AbstractEventLoop | None = None

    async def initialize(self, *args: Any, **options: Any) -> Cluster:
        """Ask who has which slot, if that is not known."""
        self._loop = self._loop or asyncio.get_running_loop()
        if self._loop is not asyncio.get_running_loop():
            # redis-py queues a transaction's commands in a thread with a loop of its own. A
            # connection that is made there could not be used in ours.
            return self
        try:
            await super().initialize(*args, **options)
        except RedisClusterException as error:
            for node in self.startup_nodes:  # those of the url: there may be others behind it now
                self.nodes_manager.startup_nodes.setdefault(node.name, node)
            raise ClusterDownError(str(error)) from error
        return self

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Execute a command where its slot is."""
        # Before that is known, redis-py would send it anywhere, and be redirected so often, if
        # there are several commands, that it closes the connections of all of them.
        await self.initialize()
        try:
            return await super().execute_command(*args, **options)
        except SlotNotCoveredError as error:
            raise ClusterDownError(str(error)) from error

    async def _determine_slot(self, command: str, *args: Any) -> int:
        stream = _stream_of(command, args)
        if stream is not None:
            return self.keyslot(stream)
        return await super()._determine_slot(command, *args)

    def look_anew(self) -> None:
        """Ask who has which slot before the next command."""
        self._initialize = True

    async def aclose(self) -> None:
        """Close all connections."""
        await super().aclose()
        for servers in ("nodes_cache", "startup_nodes"):
            await self.nodes_manager.aclose(servers)


class SyncCluster(redis.cluster.RedisCluster):
    """The same, blocking."""

    def look_anew(self) -> None:
        """Ask who has which slot now, if anybody answers."""
        # If nobody answers, the next command meets the same trouble, and looks again.
        with suppress(RedisClusterException, *_LOST):
            self.nodes_manager.initialize()


@contextmanager
def looking_anew(client: Any, replies: Sequence[Any]) -> Iterator[None]:
    """If commands of a pipeline do not get through, let the client ask who has their slots now.

    Args:
        client: a client of a Cluster; one that is not of ours is left alone.
        replies: what has come when the block is left; refusals are in it as exceptions.
    """
    lost = True
    try:
        yield
        lost = any(isinstance(reply, _LOST) for reply in replies)
    finally:
        if lost and isinstance(client, (Cluster, SyncCluster)):
            client.look_anew()


def _stream_of(command: str, args: tuple[Any, ...]) -> Any:
    """The stream of an `XREAD` of one stream; None for everything else."""
    if command not in _READS or len(args) < 3 or args[-3] not in _STREAMS:
        return None
    return args[-2]
