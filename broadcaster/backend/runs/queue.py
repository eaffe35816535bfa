"""The queue of requests for runs: answers that workers produce on demand.

A request names a key, and perhaps a run. Without that name, the id of its entry names the run.
Workers of one consumer group take each request once, and publish its pieces through a `Run`. The
request is removed once its run has begun. From then on, a worker has the run as long as it renews
its lease in the run's record. Part of `backend`; workers use it through `broadcaster`.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from redis.exceptions import ResponseError

from broadcaster.backend.clock import Clock, redis_time_ms
from broadcaster.backend.driver.errors import TROUBLE, translated
from broadcaster.backend.publishing.outgoing import NewEntry
from broadcaster.backend.publishing.publisher import Publisher
from broadcaster.backend.runs.listeners import Listeners
from broadcaster.backend.runs.outbox import BATCH_S, Outbox
from broadcaster.backend.runs.records import Records
from broadcaster.backend.runs.requester import RUN_FIELD, TTL
from broadcaster.backend.runs.run import Run
from broadcaster.backend.runs.values import Asked
from broadcaster.backend.runs.worker import CONCURRENCY, WorkerTasks
from broadcaster.core.event import EventId
from broadcaster.core.run import key_of

_RUNNING, NODES_KEY = "running", "broadcaster.nodes"
_WAIT_TAKEOVERS = 4  # a run that a GET began ends if no worker goes on with it in so many of them
_PENDING = 1_000  # above the number of requests that one worker takes at a time
_T = TypeVar("_T")
TAKEOVER_S = 15.0
"""The default of the seconds after which a run whose worker is silent goes to another one."""
# Longer than any `takeover_s`, so that the next worker that looks for abandoned requests takes it.
_GIVEN_BACK_MS = 7 * 24 * 3_600 * 1_000


class RunQueue:
    """Takes the requests of a channel made on demand, for one of its workers.

    It makes the publisher's client return raw replies to `XREADGROUP` and `XAUTOCLAIM`.

    Attributes:
        publisher: publishes the pieces.
        channel: the channel of the pieces.
        consumer: this worker's name in the group.
    """

    def __init__(
        self,
        publisher: Publisher,
        channel: str,
        *,
        group: str = "workers",
        takeover_s: float = TAKEOVER_S,
        batch_s: float = BATCH_S,
        nodes_key: str = NODES_KEY,
    ) -> None:
        """Join the workers of a channel; nothing is sent to Redis yet.

        Args:
            publisher: publishes the pieces.
            channel: the channel of the pieces. Its `requests` are taken.
            group: the consumer group; workers of one group share the requests.
            takeover_s: seconds after which a run whose worker is silent goes to another one.
            batch_s: seconds for which the texts of `Run.write` are gathered.
            nodes_key: as in the settings of the nodes, to learn `Run.listeners`.

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
        self._gone: list[Run] = []  # that were lost while a batch was written
        to = publisher.channels.resolve(channel)
        self._records = Records(publisher.redis, to.redis_key, publisher.outgoing.bound(to))
        self._outbox = Outbox(partial(self._records.write_all, lease_s=takeover_s), batch_s)
        self._scan: bytes = b"0-0"
        self._redis: Any = publisher.redis
        self._clock = Clock(lambda: redis_time_ms(publisher.redis))
        self._listeners = Listeners(self._redis, nodes_key, self._clock.now_ms)
        self._redis.set_response_callback("XREADGROUP", _raw_of_one_stream)
        self._redis.set_response_callback("XAUTOCLAIM", lambda response, **_: response)

    async def take(self, limit: int, *, wait_s: float = 0.0) -> list[Run]:
        """Take runs. Those whose worker is silent come first, then new requests.

        If this is cancelled or raises, what it had taken is found again after `takeover_s`.

        Args:
            limit: the most to take, at least 1.
            wait_s: seconds to wait for a new request; less than the client's timeout.

        Returns:
            The runs, begun; none if there was no request in time.

        Raises:
            BackendUnavailableError: Redis is away.
            ConfigurationError: Redis refuses for good.
        """
        await self._clock.look()
        before, runs = set(self._active.values()), list[Run]()
        try:
            for id_ in await self._records.due(self._clock.now_ms(), limit):
                runs += await self._begun(id_, None)
            if not runs:
                entries = await self._asking(lambda: self._abandoned(limit))
                if not entries:
                    entries = await self._asking(lambda: self._fresh(limit, wait_s))
                for id_, fields in entries:
                    runs += await self._requested(id_.decode(), fields)
        except BaseException:
            for run in {*self._active.values()} - before:
                self.release(run)  # or `keep` would hold runs that this worker does not answer
            raise
        return runs

    async def keep(self) -> list[Run]:
        """Say that this worker lives. Call it three times in `takeover_s`.

        Returns:
            The runs that it does not have any more: they were stopped, or another worker has them.
            End the work on them.

        Raises:
            BackendUnavailableError, ConfigurationError: as for `take`.
        """
        # A batch that was written meanwhile has said so of its run.
        silent = [run for run in self._active.values() if not run.renewed]
        for run in self._active.values():
            run.renewed = False
        for run, said in zip(silent, await self._keep(silent, self._takeover_s), strict=True):
            if said != _RUNNING:
                self._over(run)
        await self._listeners.tell(list(self._active.values()))
        gone, self._gone = self._gone, []
        return gone

    async def _keep(self, runs: Sequence[Run], lease_s: float) -> list[str]:
        if not runs:
            return []
        return await self._records.keep([(run.id, run.attempt) for run in runs], lease_s)

    async def serve(
        self, answer: Callable[[Run], Awaitable[object]], *, concurrency: int = CONCURRENCY
    ) -> None:
        """Answer requests until cancelled, several at once. While Redis is away, it waits.

        A run that `answer` returns from without an end is completed. If `answer` raises, the run
        goes to a worker again after `takeover_s`. If the run is stopped or lost, the task of
        `answer` is cancelled within 1 s. At the end, unfinished runs are given back. Texts that
        `answer` has written are published before that.

        Args:
            answer: publishes the pieces of a run.
            concurrency: the most runs at a time.

        Raises:
            ConfigurationError: Redis refuses for good.
        """
        await WorkerTasks(self, answer, concurrency, self._takeover_s).work()

    def release(self, run: Run) -> None:
        """Stop working on a run that can't be finished. Another worker takes it in `takeover_s`."""
        if self._active.get(run.id) is run:  # it may have taken the same run again meanwhile
            del self._active[run.id]

    async def aclose(self) -> None:
        """Give unfinished runs back, without the texts that are not published yet.

        Raises:
            BackendUnavailableError, ConfigurationError: as for `take`. The other workers take the
                runs after `takeover_s` then.
        """
        runs = list(self._active.values())
        self._active.clear()
        await self._outbox.aclose()
        await self._keep(runs, 0.0)
        if mine := await self._asking(self._pending):
            await self._asking(lambda: self._give_back(mine))
        else:
            await self._asking(
                lambda: self._redis.xgroup_delconsumer(self._requests, self._group, self.consumer)
            )

    async def _requested(self, entry: str, fields: Sequence[bytes] | None) -> list[Run]:
        """Begin the run of a request, and remove the request."""
        named = dict(zip(fields[::2], fields[1::2], strict=True)) if fields else {}
        key = named.get(b"key", b"").decode(errors="replace")
        id_ = named.get(RUN_FIELD, b"").decode(errors="replace")
        run = id_ or entry
        asked = Asked(key, id_ or key_of(key, entry), wait_s=_WAIT_TAKEOVERS * self._takeover_s)
        late = self._is_late(entry, named.get(TTL)) and not await self._records.known(run)
        begun = await self._begun(run, asked) if key and not late else []
        await self._asking(lambda: self._delete(entry))
        return begun

    async def _begun(self, id_: str, asked: Asked | None) -> list[Run]:
        begun = await self._records.begin(id_, asked, self._takeover_s)
        if begun is None:
            return []
        self._active[id_] = run = Run(
            id_,
            begun,
            self._records,
            encode=self._entry,
            release=self._over,
            outbox=self._outbox,
            lease_s=self._takeover_s,
            now_ms=self._clock.now_ms,
        )
        return [run]

    def _over(self, run: Run) -> None:
        if self._active.get(run.id) is run and not run.finished:
            self._gone.append(run)
        self.release(run)

    def _entry(self, type_: str, key: str, data: Any) -> NewEntry:
        return self.publisher.outgoing.entry((self.channel, type_, key, data))

    def _is_late(self, entry: str, ttl_ms: bytes | None) -> bool:
        """Return True if the request is too old to begin its run, by Redis's clock, as its id."""
        lives_ms = int(ttl_ms) if ttl_ms and ttl_ms.isdigit() else float("inf")
        return self._clock.now_ms() > EventId.of_entry(entry.encode()).ms + lives_ms

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

    async def _give_back(self, ids: list[bytes]) -> None:
        idle = _GIVEN_BACK_MS
        await self._redis.xclaim(
            self._requests, self._group, self.consumer, 0, ids, idle=idle, justid=True
        )

    async def _delete(self, id: str) -> None:
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.xack(self._requests, self._group, id)
            pipe.xdel(self._requests, id)  # the run's record has all of it
            await pipe.execute()

    async def _asking(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Ask Redis. If the consumer group does not exist, make it and ask again."""
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
            # From 0, not from the end: requests older than the first worker are answered, too.
            await self._redis.xgroup_create(self._requests, self._group, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # another worker was faster
                raise


def _raw_of_one_stream(response: Any, **_: Any) -> list[Any]:
    if not response:
        return []
    return list(*response.values()) if isinstance(response, dict) else list(response[0][1])
