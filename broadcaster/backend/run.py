"""One run, as the worker that answers it sees it: pieces, each published once. Part of `backend`.

What a run has published is kept beside the stream and written in one `MULTI` with each piece,
together with the name of the worker that owns the run: a worker that takes over goes on exactly
where the dead one stopped, and a stalled one that wakes up can publish nothing.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from broadcaster.backend.publisher import Publisher
from broadcaster.core.run import key_of
from broadcaster.errors import ConflictError, RunLostError

KEPT_S = 3_600
"""Seconds that the progress of a run is remembered after its last piece."""


class Run:
    """A request that this worker has taken. Made by `RunQueue.take`.

    Its methods may be called again after a `BackendUnavailableError`, whether Redis had executed
    them or not. One task at a time.

    Attributes:
        id: the name of the run: the id of its request.
        key: what was asked for, such as a user id.
        pieces: the names of the pieces that are published, by whichever worker.
        finished: whether the last event is published.
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
    ) -> None:
        """Describe a run; nothing is sent before `begin`.

        Args:
            id: of its request.
            key: what was asked for.
            publisher: what to publish with.
            channel: where to.
            worker: the name of this worker.
            drop: takes the request off the queue.
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
        self._since_s = time.time()
        stream = publisher.stream_of(channel)
        # Events and progress are written in one MULTI, so on Cluster they must share a slot.
        self._state_key = f"{{{stream}}}:run:{id}"

    @property
    def age_s(self) -> float:
        """Seconds since a worker first took it; by wall clocks, as workers share no other."""
        return max(0.0, time.time() - self._since_s)

    async def begin(self) -> None:
        """Become the owner, and learn what is published already.

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
        """Publish a piece; returns False and does nothing if it is published already.

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
        """Publish the last event, and take the request off the queue.

        Returns False if the event was published already; the queue is tidied in any case.

        Raises:
            RunLostError, BackendUnavailableError: as for `publish`.
        """
        published = await self._write(None, type, data)
        await self._drop(self)
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
                continue  # somebody has just become the owner: the next look says so

    def _learn(self, state: bytes | None) -> None:
        if state is None:  # a new run, or one that is forgotten: then nobody owns it
            self._owner, self.pieces, self.finished = "", [], False
        else:
            self._owner, self.pieces, self.finished, self._since_s = orjson.loads(state)

    def _store(self, redis: Any, pieces: list[str], *, finished: bool) -> None:
        state = [self._worker, pieces, finished, self._since_s]
        redis.set(self._state_key, orjson.dumps(state), ex=KEPT_S)
