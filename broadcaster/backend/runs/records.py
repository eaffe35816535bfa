"""Writes and reads the records of runs, for workers and for nodes. Part of `backend`.

Every change of a run is one script in the slot of its stream. `core.runs.record` has the keys, and
`backend.runs.scripts` the scripts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack

from broadcaster.backend.driver.connect import AsyncClient
from broadcaster.backend.driver.errors import translating
from broadcaster.backend.driver.exchange import Command
from broadcaster.backend.driver.scripts import call, call_each
from broadcaster.backend.publishing.outgoing import NewEntry
from broadcaster.backend.runs.scripts import BEGIN, CREATE, END, KEEP, LOOK, WRITE
from broadcaster.backend.runs.values import KEPT_S, Asked, Begun, Piece, Write
from broadcaster.core.event import EventId
from broadcaster.core.run import FAILED, STOPPED
from broadcaster.core.runs.record import (
    MAX_DELIVERIES,
    Record,
    RunKeys,
    RunState,
    leases_of,
    newest_of,
    owned_of,
)
from broadcaster.core.runs.silent import Waiting

_AT_ONCE = 50


class Records:
    """The records of the runs of one stream.

    All methods raise `BackendUnavailableError` if Redis is away: the change may have been made.
    They raise a `ConfigurationError` if Redis refuses for good.
    """

    def __init__(self, client: AsyncClient, stream: str, maxlen: int | None) -> None:
        """Store the arguments.

        Args:
            client: has no retries.
            stream: the Redis key of the stream that has the events.
            maxlen: about how many entries the stream retains; None is no bound.
        """
        self._client: Any = client
        self._stream = stream
        self._maxlen = "" if maxlen is None else maxlen

    async def create(self, run: EventId, asked: Asked, most: int = 0) -> bool:
        """Make the record of a run that waits for a worker, unless it has one.

        Args:
            run: its id.
            asked: what is known of it.
            most: the most runs of its owner that are not over; 0 is no limit.

        Returns:
            False if its owner has all the runs that it may have.
        """
        kept_ms = _ms(asked.wait_s + max(asked.ttl_s, KEPT_S))
        words = asked.key, asked.event_key, asked.owner, asked.body
        times = _ms(asked.wait_s), _ms(asked.ttl_s), kept_ms
        owned = owned_of(self._stream, asked.owner)
        return bool(await self._call(CREATE, run, *words, *times, most, owned) == b"created")

    async def begin(
        self, run: str, asked: Asked | None, lease_s: float, most: int = 0
    ) -> Begun | None:
        """Become the worker of a run.

        Args:
            run: its id.
            asked: what is known of it, if it may have no record yet.
            lease_s: seconds after which another worker may take it, unless it is kept.
            most: as for `create`.

        Returns:
            The run; None if it is over, or another worker has it, or its owner has all the runs
            that it may have.
        """
        asked = asked or Asked("", "")
        words = _ms(lease_s), MAX_DELIVERIES, asked.key, asked.event_key
        times = _ms(asked.ttl_s), _ms(max(asked.ttl_s, KEPT_S)), _ms(asked.wait_s)
        owner = asked.owner, most, owned_of(self._stream, asked.owner)
        state, *found = await self._call(BEGIN, run, *words, *times, *owner)
        if state != b"running":
            return None
        attempt, key, event_key, batch, began_ms, body, pieces = found
        return Begun(
            attempt,
            key.decode(errors="replace"),
            event_key.decode(errors="replace"),
            int(batch),
            int(began_ms),
            body,
            [_piece(packed) for packed in pieces],
        )

    async def write(
        self,
        run: EventId | str,
        attempt: int,
        batch: int,
        entries: Sequence[tuple[NewEntry, Piece]],
        lease_s: float,
        *,
        restart: bool = False,
    ) -> str:
        """Write a batch of events, once, however often it is called with the same number.

        Args:
            run: its id.
            attempt: of the worker.
            batch: one above the last batch of the run.
            entries: the events.
            lease_s: as for `begin`.
            restart: forget all pieces, and say so to the clients first.

        Returns:
            `written`, or why nothing was written: the state of the run, `lost` or `absent`.
        """
        words = attempt, batch, _ms(lease_s), _ms(KEPT_S), "restart" if restart else ""
        said: bytes = await self._call(WRITE, run, *words, *_packed(entries))
        return said.decode()

    async def write_all(self, writes: Sequence[Write], lease_s: float) -> list[str | Exception]:
        """Write batches of several runs in one pipeline.

        Args:
            writes: at most one of each run.
            lease_s: as for `begin`.

        Returns:
            For each batch, the text that `write` returns, or the error that it raises.
        """
        calls = [
            self._words(run, attempt, batch, _ms(lease_s), _ms(KEPT_S), "", *_packed(entries))
            for run, attempt, batch, entries in writes
        ]
        found = await call_each(self._client, WRITE, calls, f"write to runs of {self._stream}")
        return [one if isinstance(one, Exception) else one.decode() for one in found]

    async def complete(
        self, run: EventId | str, attempt: int, type_: str, data: bytes
    ) -> tuple[str, int]:
        """End a run as its worker.

        Returns:
            `ended`, and the attempt; or why it was not ended: its state and the attempt that it
            ended in, `lost` or `absent`.
        """
        words = RunState.COMPLETE, "", type_, data, "attempt", attempt
        return _ended(await self._call(END, run, *words))

    async def fail(self, run: EventId | str, attempt: int, reason: str) -> tuple[str, int]:
        """End a run as its worker that can't finish it; returns as `complete` does."""
        words = RunState.FAILED, reason, FAILED, "", "attempt", attempt
        return _ended(await self._call(END, run, *words))

    async def stop(self, run: EventId | str) -> str:
        """End a run, also against its worker. Return `ended`, its state, or `absent`."""
        words = RunState.STOPPED, "stopped", STOPPED, b"{}", "", ""
        return _ended(await self._call(END, run, *words))[0]

    async def end_if_due(self, run: EventId | str) -> str:
        """End a run that no worker has taken in time, or whose worker is gone, by Redis's clock.

        Returns:
            `ended`, `alive` if it is not due, its state if it is over, or `absent`.
        """
        words = RunState.FAILED, "worker", FAILED, "", "due", ""
        said, _ = _ended(await self._call(END, run, *words))
        if said == "absent":  # its record has expired, or was lost
            with translating(f"look after the runs of {self._stream}"):
                await self._client.zrem(leases_of(self._stream), str(run))
        return said

    async def keep(self, runs: Sequence[tuple[str, int]], lease_s: float) -> list[str]:
        """Renew a worker's leases.

        Args:
            runs: the id and the attempt of each run.
            lease_s: as for `begin`. 0 gives them back: another worker may take them at once, and
                this delivery does not count.

        Returns:
            `running` for each run, or why the worker does not have it any more: as for `write`.
        """
        calls = [self._words(run, attempt, _ms(lease_s)) for run, attempt in runs]
        said = []
        for reply in await call_each(self._client, KEEP, calls, f"keep runs of {self._stream}"):
            if isinstance(reply, Exception):
                raise reply
            said.append(reply.decode())
        return said

    async def due(self, now_ms: int, limit: int = _AT_ONCE) -> list[str]:
        """Return runs whose lease has ended, and runs that waited for too long.

        Args:
            now_ms: milliseconds since 1970, by about Redis's clock.
            limit: the most to return.
        """
        with translating(f"look after the runs of {self._stream}"):
            found = await self._client.zrangebyscore(
                leases_of(self._stream), "-inf", now_ms, start=0, num=limit
            )
        return [run.decode() for run in found]

    async def look(self, runs: Sequence[EventId | str]) -> list[Waiting | None]:
        """Return for how long no worker has had each run; None if one has it, or it is over."""
        if not runs:
            return []
        keys = leases_of(self._stream), *(RunKeys.of(self._stream, run).record for run in runs)
        words = len(keys), *keys, *map(str, runs)
        found = await call(self._client, LOOK, words, f"look after the runs of {self._stream}")
        return [Waiting(*times) if times else None for times in found]

    async def find(self, run: EventId | str) -> Record | None:
        """Return the record of a run; None if it is unknown, or was over for too long."""
        with translating(f"look for a run of {self._stream}"):
            return Record.of(await self._client.hgetall(RunKeys.of(self._stream, run).record))

    async def newest(self, key: str) -> EventId | None:
        """Return the newest run about a key; None if there is none."""
        with translating(f"look for a run of {self._stream}"):
            found = await self._client.hget(newest_of(self._stream, key), "run")
        return EventId.parse(found.decode()) if found else None

    async def known(self, run: EventId | str) -> bool:
        """Return True if a run has a record."""
        with translating(f"look for a run of {self._stream}"):
            return bool(await self._client.exists(RunKeys.of(self._stream, run).record))

    async def _call(self, script: str, run: EventId | str, *words: Any) -> Any:
        doing = f"write to run {run} of {self._stream}"
        return await call(self._client, script, self._words(run, *words), doing)

    def _words(self, run: EventId | str, *words: Any) -> Command:
        keys = RunKeys.of(self._stream, run)
        return (len(keys), *keys, str(run), self._maxlen, *words)


def _ms(seconds: float) -> int:
    return round(seconds * 1_000)


def _packed(entries: Sequence[tuple[NewEntry, Piece]]) -> list[Any]:
    return [word for entry, piece in entries for word in (entry.packed, msgpack.packb(piece))]


def _ended(reply: Sequence[bytes]) -> tuple[str, int]:
    return reply[0].decode(), int(reply[1]) if len(reply) > 1 else 0


def _piece(packed: bytes) -> Piece:
    type_, data = msgpack.unpackb(packed, raw=True)
    return Piece(type_.decode(), data)
