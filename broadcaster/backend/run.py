"""A run for the worker that answers it: its pieces are published once each. Part of `backend`.

The progress of a run is kept in a key beside the stream: the names of its published pieces, and its
owner. Each piece and the new progress are written in one `MULTI`. So a worker that takes over goes
on exactly where the dead one stopped, and a stalled worker that wakes up can't publish.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import orjson

from broadcaster.backend.publisher import Publisher
from broadcaster.core.run import key_of, state_key_of
from broadcaster.errors import BackendUnavailableError, ConflictError, RunLostError

KEPT_S = 3_600
"""Seconds that the progress of a run is remembered after its last piece."""
DONE_S = 300
"""The same once the run is complete and its request is gone. Then only a worker that was stopped in
the middle could look for it. Shorter, because any client may ask for runs."""


class Run:
    """A request that this worker has taken. `RunQueue.take` makes it.

    Only one task at a time may use it. After a `BackendUnavailableError` a method may be called
    again, even if Redis has executed the first call.

    Attributes:
        id: the name of the run, which is the id of its request.
        key: the key of the request, such as a user id.
        pieces: the names of the published pieces, of this worker and earlier ones.
        finished: True if the last event is published.
    """

    def __init__(
        self,
        id: str,
        key: str,
        *,
        publisher: Publisher,
        channel: str,
        worker: str,
        drop: Callable[[Run], Awaitable[None]],
        now_ms: Callable[[], int],
    ) -> None:
        """Describe a run; nothing is sent before `begin`.

        Args:
            id: the id of its request.
            key: the key of the request.
            publisher: publishes the pieces.
            channel: the channel of the pieces.
            worker: the name of this worker.
            drop: removes the request from the queue.
            now_ms: returns milliseconds since 1970, by a clock that all workers share.
        """
        self.id = id
        self.key = key
        self.pieces: list[str] = []
        self.finished = False
        self._publisher = publisher
        self._channel = channel
        self._worker = worker
        self._drop = drop
        self._owner = ""
        self._now_ms = now_ms
        self._since_s = now_ms() / 1000
        stream = publisher.stream_of(channel)
        # Events and progress are written in one MULTI, so on Cluster they must share a slot.
        self._state_key = state_key_of(stream, id)

    @property
    def age_s(self) -> float:
        """Return the seconds since a worker first took it, by Redis's clock."""
        return max(0.0, self._now_ms() / 1000 - self._since_s)

    async def has_begun(self) -> bool:
        """Return True if a worker has begun the run.

        Raises:
            BackendUnavailableError: Redis is away.
        """
        with self._publisher.commands() as redis:
            return bool(await redis.exists(self._state_key))

    async def begin(self) -> None:
        """Become the owner, and read the names of the pieces that are published already.

        Raises:
            BackendUnavailableError: Redis is away.
        """
        while True:
            try:
                async with self._publisher.transaction(self._state_key) as transaction:
                    self._learn(await transaction.redis.get(self._state_key))
                    transaction.multi()
                    self._store(transaction.redis, self.pieces, finished=self.finished)
                return
            except ConflictError:
                continue  # the former owner has just published a piece: read again

    async def publish(self, piece: str, *, type: str, data: Any) -> bool:
        """Publish a piece. Return False, without an effect, if it was published before.

        Args:
            piece: a name that is unique in the run.
            type: the SSE event name.
            data: as for `Publisher.publish`.

        Raises:
            RunLostError: another worker owns the run now; nothing was published.
            BackendUnavailableError: Redis is away; call again.
        """
        return await self._write(piece, type, data)

    async def complete(self, *, type: str = "complete", data: Any) -> bool:
        """Publish the last event, and remove the request from the queue.

        Return False if the event was published before. The request is removed in any case.

        Raises:
            RunLostError, BackendUnavailableError: as for `publish`.
        """
        published = await self._write(None, type, data)
        await self._drop(self)
        with suppress(BackendUnavailableError), self._publisher.commands() as redis:
            state = self._state(self.pieces, finished=True)
            await redis.set(self._state_key, state, ex=DONE_S)
        return published

    async def _write(self, piece: str | None, type_: str, data: Any) -> bool:
        """Publish a piece, or the last event if `piece` is None."""
        key = key_of(self.key, self.id)
        while True:
            try:
                async with self._publisher.transaction(self._state_key) as transaction:
                    self._learn(await transaction.redis.get(self._state_key))
                    if self._owner != self._worker:
                        raise RunLostError(f"run {self.id} is now worked on by {self._owner!r}")
                    if self.finished or piece in self.pieces:
                        return False
                    done = self.pieces if piece is None else [*self.pieces, piece]
                    transaction.publish(self._channel, type=type_, key=key, data=data)
                    self._store(transaction.redis, done, finished=piece is None)
                self.pieces, self.finished = done, piece is None
                return True
            except ConflictError:
                continue  # another worker has just become the owner: read again, and raise

    def _learn(self, state: bytes | None) -> None:
        if state is None:  # a new run, or one whose progress has expired; it has no owner
            self._owner, self.pieces, self.finished = "", [], False
        else:
            self._owner, self.pieces, self.finished, self._since_s = orjson.loads(state)

    def _store(self, redis: Any, pieces: list[str], *, finished: bool) -> None:
        redis.set(self._state_key, self._state(pieces, finished=finished), ex=KEPT_S)

    def _state(self, pieces: list[str], *, finished: bool) -> bytes:
        return orjson.dumps([self._worker, pieces, finished, self._since_s])
