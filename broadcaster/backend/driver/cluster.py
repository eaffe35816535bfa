"""A Cluster client that finds the new masters after a failover. Part of `backend.driver`.

redis-py's own client has these faults for a long-lived reader or publisher:

* It asks a server for the keys of each `XREAD`, in a second round trip. It asks one server for all
  streams. While that one is down, streams on healthy masters can't be read either.
* Some of its errors are no `RedisError`.
* After a pipeline has met a dead master, it does not ask for the new masters of the slots.
* After all servers have moved, it knows only their old addresses, not those of the url.
* Before it knows the layout, it sends concurrent commands to any server. They are redirected, and
  the fifth redirection closes their connections.
* If it is closed while servers are away, it leaves connections open.
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
    """Raises `ClusterDownError`, a `RedisError`, while it does not know the master of a slot."""

    _loop: asyncio.AbstractEventLoop | None = None

    async def initialize(self, *args: Any, **options: Any) -> Cluster:
        """Read the layout of the cluster, if it is not known."""
        self._loop = self._loop or asyncio.get_running_loop()
        if self._loop is not asyncio.get_running_loop():
            # redis-py queues a transaction's commands in a thread with a loop of its own. A
            # connection that is made there could not be used in ours.
            return self
        try:
            await super().initialize(*args, **options)
        except RedisClusterException as error:
            for node in self.startup_nodes:  # those of the url: its names may lead to new servers
                self.nodes_manager.startup_nodes.setdefault(node.name, node)
            raise ClusterDownError(str(error)) from error
        return self

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Execute a command on the master of its slot."""
        # Without the layout, redis-py would send it to any server. Several such commands would be
        # redirected so often that redis-py closes the connections of all of them.
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
        """Read the layout of the cluster before the next command."""
        self._initialize = True

    async def aclose(self) -> None:
        """Close all connections."""
        await super().aclose()
        for servers in ("nodes_cache", "startup_nodes"):
            await self.nodes_manager.aclose(servers)


class SyncCluster(redis.cluster.RedisCluster):
    """The same, blocking."""

    def look_anew(self) -> None:
        """Read the layout of the cluster now, if a server answers."""
        # If no server answers, the next command fails in the same way, and reads it again.
        with suppress(RedisClusterException, *_LOST):
            self.nodes_manager.initialize()


@contextmanager
def looking_anew(client: Any, replies: Sequence[Any]) -> Iterator[None]:
    """Make the client read the layout again if commands of a pipeline did not get through.

    Args:
        client: a client of a Cluster. Nothing is done to one that `connect` has not made.
        replies: the replies at the end of the block, with refusals as exceptions.
    """
    lost = True
    try:
        yield
        lost = any(isinstance(reply, _LOST) for reply in replies)
    finally:
        if lost and isinstance(client, (Cluster, SyncCluster)):
            client.look_anew()


def _stream_of(command: str, args: tuple[Any, ...]) -> Any:
    """Return the stream of an `XREAD` of one stream; None for any other command."""
    if command not in _READS or len(args) < 3 or args[-3] not in _STREAMS:
        return None
    return args[-2]
