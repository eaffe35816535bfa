"""Runs: answers that workers produce on demand, piece by piece, each piece once.

A request names a key; the id of its entry names the run. Workers of one consumer group take each
request once and publish its pieces with the key `<key>#<run>`. What a run has published is kept
beside the stream and written in one `MULTI` with each piece, together with the name of the worker
that owns the run: a worker that takes over goes on exactly where the dead one stopped, and a
stalled one that wakes up can publish nothing. Part of `backend`; workers use it through
`broadcaster`.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import orjson
from redis.exceptions import ResponseError

from broadcaster.backend.driver.errors import TROUBLE, translated
from broadcaster.backend.publisher import Publisher
from broadcaster.errors import ConflictError, RunLostError

KEPT_S = 3_600
"""Seconds that the progress of a run is remembered after its last piece."""
_PENDING = 1_000  # more requests than one worker has at a time
_T = TypeVar("_T")
# Idle longer than any worker waits: whoever looks for abandoned requests next takes it.
_GIVEN_BACK_MS = 7 * 24 * 3_600 * 1_000


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

    def __init__(self, queue: RunQueue, id: str, key: str) -> None:
        self.id = id
        self.key = key
        self.pieces: list[str] = []
        self.finished = False
        self._queue = queue
        self._owner = ""
        self._since_s = time.time()
        stream = queue.publisher.stream_of(queue.channel)
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
                async with self._queue.publisher.transaction(self._state_key) as transaction:
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
        await self._queue.drop(self)
        return published

    async def _write(self, piece: str | None, type_: str, data: Any) -> bool:
        """Publish a piece, or the last event if `piece` is None."""
        key = f"{self.key}#{self.id}"
        while True:
            try:
                async with self._queue.publisher.transaction(self._state_key) as transaction:
                    self._learn(await transaction.redis.get(self._state_key))
                    if self._owner != self._queue.consumer:
                        raise RunLostError(f"run {self.id} is now worked on by {self._owner!r}")
                    if self.finished or piece in self.pieces:
                        return False
                    done = self.pieces if piece is None else [*self.pieces, piece]
                    transaction.publish(self._queue.channel, type=type_, key=key, data=data)
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
        state = [self._queue.consumer, pieces, finished, self._since_s]
        redis.set(self._state_key, orjson.dumps(state), ex=KEPT_S)


class RunQueue:
    """The requests of a channel that is made on demand, as one of its workers sees them.

    Makes the publisher's client return raw replies to `XREADGROUP` and `XAUTOCLAIM`.

    Attributes:
        publisher: what the pieces are published with.
        channel: the channel that they go to.
        consumer: this worker's name in the group.
    """

    def __init__(
        self,
        publisher: Publisher,
        channel: str,
        *,
        group: str = "workers",
        takeover_s: float = 15.0,
    ) -> None:
        """Join the workers of a channel; nothing is sent to Redis yet.

        Args:
            publisher: what to publish with.
            channel: the channel of the answers, whose `requests` are taken.
            group: the consumer group; workers of one group share the requests.
            takeover_s: seconds after which a request whose worker is silent goes to another one.

        Raises:
            UnknownChannelError: the publisher has no such channel.
            ConfigurationError: the channel is not made on demand: it has no `requests`.
        """
        self.publisher = publisher
        self.channel = channel
        self.consumer = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._requests = publisher.channels.requests_of(channel)
        self._group = group
        self._takeover_s = takeover_s
        self._active: dict[str, Run] = {}
        self._scan: bytes = b"0-0"
        self._redis: Any = publisher.redis
        self._redis.set_response_callback("XREADGROUP", _raw_of_one_stream)
        self._redis.set_response_callback("XAUTOCLAIM", lambda response, **_: response)

    async def take(self, limit: int, *, wait_s: float = 0.0) -> list[Run]:
        """Take requests: those that another worker left behind first, then new ones.

        If this is cancelled or raises, what was taken meanwhile is found again after `takeover_s`.

        Args:
            limit: the most to take, at least 1.
            wait_s: seconds to wait for a new request; less than the client's timeout.

        Raises:
            BackendUnavailableError: Redis is away.
            ConfigurationError: Redis refuses for good.
        """
        entries = await self._asking(lambda: self._abandoned(limit))
        if not entries:
            entries = await self._asking(lambda: self._fresh(limit, wait_s))
        runs: list[Run] = []
        try:
            for id, fields in entries:
                if run := await self._begun(id, fields):
                    runs.append(run)
        except BaseException:
            for run in runs:  # or `keep` would hold what nobody works on
                self.release(run)
            raise
        return runs

    async def keep(self) -> None:
        """Say that this worker lives: call it at least three times in `takeover_s`.

        Only what is still ours is claimed, so that a run that was taken over stays where it is.

        Raises:
            BackendUnavailableError, ConfigurationError: as for `take`.
        """
        mine = await self._asking(self._pending)
        ids = [id for id in mine if id.decode() in self._active]
        if ids:
            await self._asking(lambda: self._claim(ids))

    async def drop(self, run: Run) -> None:
        """Take a request off the queue.

        Raises:
            BackendUnavailableError, ConfigurationError: as for `take`; call again.
        """
        await self._asking(lambda: self._delete(run.id))
        self.release(run)

    def release(self, run: Run) -> None:
        """Work on a run no more (it was lost, or can't be finished); somebody else may."""
        self._active.pop(run.id, None)

    async def aclose(self) -> None:
        """Give unfinished requests back, so that other workers take them at once.

        Raises:
            BackendUnavailableError, ConfigurationError: as for `take`; they take them later.
        """
        self._active.clear()
        mine = await self._asking(self._pending)
        if mine:
            await self._asking(lambda: self._claim(mine, idle=_GIVEN_BACK_MS))
        else:
            await self._asking(
                lambda: self._redis.xgroup_delconsumer(self._requests, self._group, self.consumer)
            )

    async def _begun(self, id: bytes, fields: Sequence[bytes] | None) -> Run | None:
        named = dict(zip(fields[::2], fields[1::2], strict=True)) if fields else {}
        run = Run(self, id.decode(), named.get(b"key", b"").decode(errors="replace"))
        if run.id in self._active:  # we were silent for too long and found our own request
            return None
        if not run.key:
            await self.drop(run)
            return None
        await run.begin()
        if run.finished:  # its worker died just before it could say so
            await self.drop(run)
            return None
        self._active[run.id] = run
        return run

    async def _abandoned(self, limit: int) -> list[Any]:
        self._scan, entries, *_ = await self._redis.xautoclaim(
            self._requests,
            self._group,
            self.consumer,
            min_idle_time=round(self._takeover_s * 1_000),
            start_id=self._scan,
            count=limit,
        )
        return [entry for entry in entries if entry is not None]

    async def _fresh(self, limit: int, wait_s: float) -> list[Any]:
        block_ms = max(1, round(wait_s * 1_000)) if wait_s else None
        entries: list[Any] = await self._redis.xreadgroup(
            self._group, self.consumer, {self._requests: ">"}, count=limit, block=block_ms
        )
        return entries

    async def _pending(self) -> list[bytes]:
        rows = await self._redis.xpending_range(
            self._requests, self._group, "-", "+", _PENDING, consumername=self.consumer
        )
        return [row["message_id"] for row in rows]

    async def _claim(self, ids: list[bytes], idle: int | None = None) -> None:
        await self._redis.xclaim(
            self._requests, self._group, self.consumer, 0, ids, idle=idle, justid=True
        )

    async def _delete(self, id: str) -> None:
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.xack(self._requests, self._group, id)
            # Nobody reads a request again, so the stream stays as short as the work that is left.
            pipe.xdel(self._requests, id)
            await pipe.execute()

    async def _asking(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Ask Redis; make the group if there is none (at first, or after everything was lost)."""
        try:
            try:
                return await ask()
            except ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    raise
            await self._make_group()
            return await ask()
        except TROUBLE as error:
            raise translated(error, f"take requests from {self._requests}") from error

    async def _make_group(self) -> None:
        try:
            # From 0, not from the end: what was asked for before the first worker came is answered.
            await self._redis.xgroup_create(self._requests, self._group, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # another worker was faster
                raise


def _raw_of_one_stream(response: Any, **_: Any) -> list[Any]:
    if not response:
        return []
    return list(*response.values()) if isinstance(response, dict) else list(response[0][1])
