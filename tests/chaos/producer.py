"""Publishes at a steady rate and logs what Redis answers, by plain `XADD`s of our own."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import time
from collections.abc import Sequence
from typing import Any

import msgpack
import orjson
from redis.exceptions import RedisError, ResponseError

from broadcaster import connect
from tests.chaos.history import Added, Id, Ledger, digest_of, id_of

KEYS = tuple(f"k{number}" for number in range(8))
_LINE_END = re.compile(rb"\r\n|\r")
_PAGE = 1000
_TIMEOUT_S = 2.0


def client_of(url: str) -> Any:
    """A client that sends nothing twice, and loses no cancellation; Any, as redis-py's types name
    every shape there is."""
    return connect(url, timeout_s=_TIMEOUT_S)


class Producer:
    """Adds entries to streams in turn. Every event's data is different from all others.

    Attributes:
        streams: where to, in turn.
        keys: of the events, chosen at random.
        paused: publish nothing for now.
    """

    _seqs = itertools.count()

    def __init__(
        self,
        url: str,
        ledger: Ledger,
        chance: random.Random,
        *,
        streams: Sequence[str] = ("a",),
        keys: Sequence[str] = KEYS,
        maxlen: int | None = None,
        size: int = 200,
    ) -> None:
        self.streams = streams
        self.keys = keys
        self.paused = False
        self._ledger = ledger
        self._random = chance
        self._maxlen = maxlen
        self._size = size
        self._client = client_of(url)

    async def publish(
        self, stream: str, key: str = "", id_: str = "*", data: bytes | None = None
    ) -> Added:
        """Add one entry; in the ledger it has no id if no answer came.

        Args:
            stream: where to.
            key: of the event.
            id_: of the entry, or a part of it.
            data: of the event, which no other has; made up if not given.
        """
        seq = next(self._seqs)
        type_, body = self._made(stream, seq, key) if data is None else (f"t{seq % 3}", data)
        added = Added(stream, seq, _digest(body), key, type_, time.monotonic())
        added.data = body.decode() if stream in self._ledger.states else ""
        self._ledger.added.append(added)
        fields: dict[str, Any] = {"type": type_, "key": key, "data": body}
        if seq % 2:  # the form that the hub's publisher writes
            fields = {"m": msgpack.packb([type_, key, body.decode()])}
        try:
            answer = await self._client.xadd(
                stream, fields, id=id_, maxlen=self._maxlen, approximate=False
            )
        except ResponseError:  # refused: it does not exist
            self._ledger.added.remove(added)
        except (RedisError, OSError):
            pass
        else:
            added.id, added.acked_s = id_of(answer.decode()), time.monotonic()
        return added

    def _made(self, stream: str, seq: int, key: str) -> tuple[str, bytes]:
        """Return type and data of an event."""
        data = {"channel": stream, "seq": seq, "key": key, "pad": ""}
        data["pad"] = "x" * max(0, self._size - len(orjson.dumps(data)))
        return f"t{seq % 3}", orjson.dumps(data)

    async def run(self, rate: float, seconds: float | None = None) -> None:
        """Publish so many events a second, until cancelled or for so long."""
        started_s = time.monotonic()
        for number in itertools.count():
            due_s = number / rate
            if seconds is not None and due_s > seconds:
                return
            behind_s = time.monotonic() - started_s - due_s
            if behind_s < 0:
                await asyncio.sleep(-behind_s)
            elif behind_s > 1.0:  # an outage is not made up for
                started_s += behind_s
            if not self.paused:
                stream = self.streams[number % len(self.streams)]
                await self.publish(stream, self._random.choice(self.keys))

    async def aclose(self) -> None:
        """Close its connection."""
        await self._client.aclose()


def _digest(data: bytes) -> str:
    """Of data as a client gets it, for whom each line end is an LF."""
    return digest_of(_LINE_END.sub(b"\n", data))


async def entries(client: Any, stream: str) -> dict[Id, str]:
    """All that a stream holds: ids, and digests of the data."""
    found: dict[Id, str] = {}
    start = "-"
    while True:
        try:
            rows = await client.xrange(stream, start, "+", count=_PAGE)
        except ResponseError:  # something that is no stream
            return {}
        for raw, fields in rows:
            id_ = id_of(raw.decode())
            assert id_ is not None
            packed = fields.get(b"m")
            data = fields[b"data"] if packed is None else msgpack.unpackb(packed)[2].encode()
            found[id_] = _digest(data)
            start = f"({raw.decode()}"
        if len(rows) < _PAGE:
            return found
