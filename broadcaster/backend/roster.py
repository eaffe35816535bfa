"""Who is there: each node writes a line about itself into one Redis hash, and any node reads it.

Nobody is told what to do by it; it is for people who look. The hash expires when nobody writes, and
who writes strikes out those who have not for long. One hash and no search for keys, so that it
works on a Cluster as it is. Part of `backend`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import orjson

from broadcaster.backend.driver.connect import AsyncClient
from broadcaster.backend.driver.errors import TROUBLE, translated
from broadcaster.backend.sharing import SharedReads

ANNOUNCE_S = 3.0
"""How often a node should write."""

_GONE_S = 3 * ANNOUNCE_S
_EXPIRE_S = 60


class Roster:
    """One node's line in the hash, and everybody's.

    All methods raise `BackendUnavailableError` while Redis is away, and `ConfigurationError` if the
    rights do not suffice (`HSET`, `HGETALL`, `HDEL`, `EXPIRE` on that one key).
    """

    def __init__(self, client: AsyncClient, redis_key: str, name: str) -> None:
        """Name a node and the hash of nodes; nothing is sent yet.

        Args:
            client: stays the caller's.
            redis_key: of the hash.
            name: of this node; no other may have it.
        """
        self._client: Any = client
        self._key = redis_key
        self._name = name
        self._shared = SharedReads()

    async def announce(self, about: Mapping[str, Any]) -> None:
        """Write this node's line: what JSON can hold."""
        line = orjson.dumps({**about, "at_ms": _now_ms()})
        try:
            await self._client.hset(self._key, self._name, line)
            await self._client.expire(self._key, _EXPIRE_S)
            lines = await self._client.hgetall(self._key)
            gone = [name for name, line in lines.items() if _age_s(line) > _EXPIRE_S]
            if gone:
                await self._client.hdel(self._key, *gone)
        except TROUBLE as error:
            raise translated(error, f"announce this node in {self._key}") from error

    async def leave(self) -> None:
        """Strike out this node's line."""
        try:
            await self._client.hdel(self._key, self._name)
        except TROUBLE as error:
            raise translated(error, f"strike this node out of {self._key}") from error

    async def nodes(self) -> dict[str, dict[str, Any]]:
        """The lines of all nodes that have written of late, by name; one read for all who ask."""
        lines = await self._shared.of("lines", self._lines)
        recent = {
            name.decode(): orjson.loads(line)
            for name, line in sorted(lines.items())
            if _age_s(line) <= _GONE_S
        }
        for about in recent.values():
            del about["at_ms"]
        return recent

    async def _lines(self) -> dict[bytes, bytes]:
        try:
            lines: dict[bytes, bytes] = await self._client.hgetall(self._key)
        except TROUBLE as error:
            raise translated(error, f"read the nodes in {self._key}") from error
        return lines


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _age_s(line: bytes) -> float:
    try:
        written_ms = orjson.loads(line)["at_ms"]
        return float(_now_ms() - written_ms) / 1000
    except (ValueError, TypeError, KeyError):  # not written by a node: whoever did may remove it
        return float("inf")
