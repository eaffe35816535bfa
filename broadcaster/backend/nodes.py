"""Reads and writes the Redis hash of live nodes, for `node.registry`. Part of `backend`.

The hash has a line for each node. A node refreshes its line every 3 s and removes lines older than
60 s. The hash expires if no node writes for 60 s. It is one hash, without a search for keys, so
that it also works on a Cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from broadcaster.backend.clock import own_ms
from broadcaster.backend.driver.connect import AsyncClient
from broadcaster.backend.driver.errors import TROUBLE, translated
from broadcaster.backend.driver.exchange import replies_to
from broadcaster.backend.driver.replies import fields_of
from broadcaster.backend.sharing import Sending, SharedReads

ANNOUNCE_S = 3.0
"""Seconds between two writes of a node."""

_GONE_S = 3 * ANNOUNCE_S
_EXPIRE_S = 60


class NodesHash:
    """Writes one node's line in the hash, and reads the lines of all nodes.

    All methods raise `BackendUnavailableError` while Redis is away, or the user lacks a right
    (`HSET`, `HGETALL`, `HDEL`, `EXPIRE` on that one key). They raise `ConfigurationError` if the
    key holds a value of another type.
    """

    def __init__(
        self,
        client: AsyncClient,
        redis_key: str,
        name: str,
        now_ms: Callable[[], int] = own_ms,
    ) -> None:
        """Name a node and the hash of nodes; nothing is sent yet.

        Args:
            client: the caller closes it.
            redis_key: the key of the hash.
            name: the name of this node. No other node may have it.
            now_ms: returns milliseconds since 1970, by a clock that all nodes share.
        """
        self._client: Any = client
        self._key = redis_key
        self._name = name
        self._now_ms = now_ms
        self._shared = SharedReads()

    async def announce(self, about: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Write this node's line, and remove lines older than 60 s.

        Args:
            about: values that JSON can hold.

        Returns:
            The lines that other nodes have written in the last 9 s, by node.
        """
        line = orjson.dumps({**about, "at_ms": self._now_ms()})
        # One write, as an idle node's time is mostly that of its wake-ups.
        write, keep = ("HSET", self._key, self._name, line), ("EXPIRE", self._key, _EXPIRE_S)
        try:
            *_, found = await replies_to(self._client, [write, keep, ("HGETALL", self._key)])
            lines = fields_of(found)
            gone = [name for name, line in lines.items() if self._age_s(line) > _EXPIRE_S]
            if gone:
                await self._client.hdel(self._key, *gone)
        except TROUBLE as error:
            raise translated(error, f"announce this node in {self._key}") from error
        others = self._recent(lines)
        others.pop(self._name, None)
        return others

    async def leave(self) -> None:
        """Remove this node's line."""
        try:
            await self._client.hdel(self._key, self._name)
        except TROUBLE as error:
            raise translated(error, f"strike this node out of {self._key}") from error

    async def nodes(self) -> dict[str, dict[str, Any]]:
        """Return the lines written in the last 9 s, by node. Concurrent callers share one read."""
        lines = await self._shared.of("lines", self._lines)
        return self._recent(lines)

    def _recent(self, lines: Mapping[bytes, bytes]) -> dict[str, dict[str, Any]]:
        recent = {
            name.decode(): orjson.loads(line)
            for name, line in sorted(lines.items())
            if self._age_s(line) <= _GONE_S
        }
        for about in recent.values():
            del about["at_ms"]
        return recent

    async def _lines(self, sending: Sending) -> dict[bytes, bytes]:
        sending()
        try:
            lines: dict[bytes, bytes] = await self._client.hgetall(self._key)
        except TROUBLE as error:
            raise translated(error, f"read the nodes in {self._key}") from error
        return lines

    def _age_s(self, line: bytes) -> float:
        try:
            written_ms = orjson.loads(line)["at_ms"]
            return float(self._now_ms() - written_ms) / 1000
        except (ValueError, TypeError, KeyError):  # no node has written this line
            return float("inf")
