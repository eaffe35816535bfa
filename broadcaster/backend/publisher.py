"""Publishing: events to stream entries, one `XADD` each, in the packed form. Part of `backend`.

A publisher announces an event by returning its id, and never sends a command twice: what was
announced is in the stream once. Where an answer is lost, it says so and lets the caller decide.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import islice
from typing import Any, NamedTuple, cast

from redis.exceptions import (
    CrossSlotTransactionError,
    InvalidPipelineStack,
    RedisClusterException,
    RedisError,
    WatchError,
)

from broadcaster.backend.driver.connect import AsyncClient, SyncClient, connect, connect_sync
from broadcaster.backend.driver.errors import TROUBLE, UNAVAILABLE, NotSentError, translated
from broadcaster.backend.driver.exchange import Command, exchange, exchange_sync
from broadcaster.core.channel import shard_name, shard_of
from broadcaster.core.entry import encode
from broadcaster.core.event import EventId
from broadcaster.errors import BroadcasterError, InvalidEventError

MAXLEN = 100_000
"""Entries that a stream retains, about: Redis trims whole nodes of entries (`MAXLEN ~`)."""
BATCH = 1_000
"""Events of one write of `publish_many`."""
_CONCURRENT = 50  # each write has a connection, and redis-py's pool refuses more than 100


class Outgoing(NamedTuple):
    """An event that has no id yet.

    Attributes:
        channel: the channel to publish to.
        type: the SSE event name.
        key: what the event is about; `""` for the whole channel.
        data: a str or bytes goes out as it is, any other value as compact JSON.
    """

    channel: str
    type: str = "message"
    key: str = ""
    data: Any = None


class PartialPublishError(BroadcasterError):
    """`publish_many` ended early. `__cause__` is what happened.

    Attributes:
        ids: one for each event that was sent, in order. None: Redis refused it, or its answer was
            lost, and it may be in the stream or not. Events after these were not sent.
    """

    def __init__(self, ids: list[EventId | None], cause: BaseException) -> None:
        self.ids = ids
        stored = sum(id is not None for id in ids)
        super().__init__(f"{stored} events were published and {len(ids) - stored} not for certain "
                         f"when this happened: {cause}")  # fmt: skip


class ConflictError(BroadcasterError):
    """A watched key was changed by somebody else; nothing was written. Read again and retry."""


class _Streams:
    """What both publishers share: from an event to the arguments of its `XADD`."""

    def __init__(
        self,
        maxlen: int | None,
        streams: Mapping[str, str] | None,
        shards: Mapping[str, int] | None,
    ) -> None:
        self._streams = dict(streams or {})
        self._shards = {channel: count for channel, count in (shards or {}).items() if count > 1}
        self._trim = () if maxlen is None else ("MAXLEN", "~", maxlen)

    def stream_of(self, channel: str, key: str = "") -> str:
        """The Redis key of the stream that a channel's events about a key are in."""
        stream = self._streams.get(channel, channel)
        if shards := self._shards.get(channel):
            return shard_name(stream, shard_of(key, shards))
        return stream

    def _xadd(self, event: tuple[str, str, str, Any]) -> Command:
        """The command for `(channel, type, key, data)`.

        Raises:
            InvalidEventError: no node could deliver it.
        """
        channel, type_, key, data = event
        if not channel:
            raise InvalidEventError("an event needs the name of its channel")
        packed = encode(type_, key, data)[b"m"]
        return ("XADD", self.stream_of(channel, key), *self._trim, "*", b"m", packed)

    def _batches(
        self,
        events: Iterable[tuple[str, str, str, Any]],
        batch: int,
        ids: list[EventId | None],
    ) -> Iterator[list[Command]]:
        """The commands of each batch, all valid before the first of them is sent."""
        source = iter(events)
        while True:
            try:
                commands = [self._xadd(event) for event in islice(source, batch)]
            except InvalidEventError as error:
                if not ids:
                    raise
                raise PartialPublishError(ids, error) from error
            if not commands:
                return
            yield commands


class Publisher(_Streams):
    """Publishes events from asynchronous code.

    Safe for any number of tasks at a time, of which 50 write and the others wait; each transaction
    has a connection while its block runs. Cancelling a call closes its connection; whether its
    events were stored is then unknown.

    Attributes:
        redis: the client, for the caller's own commands.
    """

    def __init__(
        self,
        redis_url_or_client: str | AsyncClient,
        *,
        maxlen: int | None = MAXLEN,
        streams: Mapping[str, str] | None = None,
        shards: Mapping[str, int] | None = None,
    ) -> None:
        """Prepare a publisher; no connection is opened before the first event.

        Args:
            redis_url_or_client: a url (the client is then ours and closed with us) or a client.
            maxlen: entries that a stream retains, about; None never trims.
            streams: the Redis key of a channel's stream, where it is not the channel's name.
            shards: the number of a channel's shards, where the nodes' settings give it several.

        Raises:
            ConfigurationError: the url can't be used.
        """
        super().__init__(maxlen, streams, shards)
        given = redis_url_or_client
        self._owned = isinstance(given, str)
        self.redis: AsyncClient = connect(given) if isinstance(given, str) else given
        self._places = asyncio.Semaphore(_CONCURRENT)

    async def publish(
        self, channel: str, *, type: str = "message", key: str = "", data: Any = None
    ) -> EventId:
        """Publish one event and return its id.

        Args:
            channel: the channel to publish to.
            type: the SSE event name; `message` needs no listener of its own in a browser.
            key: what the event is about; `""` for the whole channel.
            data: a str or bytes goes out as it is, any other value as compact JSON.

        Raises:
            InvalidEventError: no node could deliver it; nothing was sent.
            BackendUnavailableError: Redis is away; the event may be stored if the answer was lost.
            ConfigurationError: Redis refuses for good (rights, a key that is no stream).
        """
        command = self._xadd((channel, type, key, data))
        with _translating(f"publish to {channel}"):
            async with self._places:
                return _event_id(await self.redis.execute_command(*command))

    async def publish_many(
        self,
        events: Iterable[Outgoing | tuple[str, str, str, Any]],
        *,
        batch: int = BATCH,
    ) -> list[EventId]:
        """Publish events in order, many to a write, and return their ids.

        Not one transaction: other producers' events may come between. At most one batch is held
        in memory, so that `events` may be slow to make or more than memory holds.

        Args:
            events: `(channel, type, key, data)` each.
            batch: events of one write.

        Raises:
            InvalidEventError, BackendUnavailableError: nothing was sent.
            PartialPublishError: some events were sent; it says which were stored.
        """
        ids: list[EventId | None] = []
        for commands in self._batches(events, batch, ids):
            replies: list[Any] = []
            try:
                async with self._places:
                    await exchange(self.redis, commands, replies)
            except NotSentError as error:
                raise _unsent(ids, error) from error.__cause__
            except TROUBLE as error:
                replies.append(error)
            _note(ids, commands, replies)
        return cast("list[EventId]", ids)

    @asynccontextmanager
    async def transaction(self, *watch: str) -> AsyncIterator[Transaction]:
        """Write events and a state of the caller's own in one `MULTI`: all or nothing.

        On Cluster all keys must share one slot: `inventory` and `{inventory}:pets` do.

        Args:
            watch: keys that must not change meanwhile. Given any, commands on
                `Transaction.redis` are executed at once (`await` them) until the first `publish`
                or `multi()`, and queued from there on.

        Raises:
            ConflictError: a watched key was changed; nothing was written.
            BackendUnavailableError: Redis is away. If it went away while the block was left, all
                or nothing was written: read the state to know.
            ConfigurationError: Redis refuses for good.
        """
        # Only redis-py's own errors: an OSError of the caller's block is the caller's.
        with _translating("publish in a transaction", (RedisError, RedisClusterException)):
            async with self.redis.pipeline(transaction=True) as pipe:
                transaction = Transaction(self, pipe, queues=not watch)
                if watch:
                    await pipe.watch(*watch)
                yield transaction
                transaction._read_ids(await pipe.execute())

    async def aclose(self) -> None:
        """Close the connections, unless the client was given by the caller."""
        if self._owned:
            await self.redis.aclose()

    async def __aenter__(self) -> Publisher:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class Transaction:
    """What `Publisher.transaction` gives: events and commands that are executed together.

    Attributes:
        redis: the pipeline, for the caller's own commands.
        ids: after the block, the ids of its events in order; empty within it.
    """

    def __init__(self, publisher: Publisher, pipe: Any, *, queues: bool) -> None:
        self.redis = pipe
        self.ids: list[EventId] = []
        self._publisher = publisher
        self._queues = queues
        self._positions: list[int] = []

    def multi(self) -> None:
        """Queue all commands from here on, after having read what is watched."""
        if not self._queues:
            self.redis.multi()
            self._queues = True

    def publish(
        self, channel: str, *, type: str = "message", key: str = "", data: Any = None
    ) -> None:
        """Queue an event; arguments as for `Publisher.publish`.

        Raises:
            InvalidEventError: no node could deliver it. Let it leave the block, and nothing is
                written.
        """
        command = self._publisher._xadd((channel, type, key, data))
        self.multi()
        self._positions.append(len(self.redis))
        self.redis.execute_command(*command)

    def _read_ids(self, replies: Sequence[Any]) -> None:
        self.ids = [_event_id(replies[position]) for position in self._positions]


class SyncPublisher(_Streams):
    """Publishes events from blocking code; for one thread at a time.

    Attributes:
        redis: the client, for the caller's own commands.
    """

    def __init__(
        self,
        redis_url_or_client: str | SyncClient,
        *,
        maxlen: int | None = MAXLEN,
        streams: Mapping[str, str] | None = None,
        shards: Mapping[str, int] | None = None,
    ) -> None:
        """Prepare a publisher; arguments and errors as for `Publisher`."""
        super().__init__(maxlen, streams, shards)
        given = redis_url_or_client
        self._owned = isinstance(given, str)
        self.redis: SyncClient = connect_sync(given) if isinstance(given, str) else given

    def publish(
        self, channel: str, *, type: str = "message", key: str = "", data: Any = None
    ) -> EventId:
        """Publish one event and return its id; arguments and errors as for `Publisher.publish`."""
        command = self._xadd((channel, type, key, data))
        with _translating(f"publish to {channel}"):
            client: Any = self.redis
            return _event_id(client.execute_command(*command))

    def publish_many(
        self, events: Iterable[Outgoing | tuple[str, str, str, Any]], *, batch: int = BATCH
    ) -> list[EventId]:
        """Publish events in order; as `Publisher.publish_many`."""
        ids: list[EventId | None] = []
        for commands in self._batches(events, batch, ids):
            replies: list[Any] = []
            try:
                exchange_sync(self.redis, commands, replies)
            except NotSentError as error:
                raise _unsent(ids, error) from error.__cause__
            except TROUBLE as error:
                replies.append(error)
            _note(ids, commands, replies)
        return cast("list[EventId]", ids)

    def close(self) -> None:
        """Close the connections, unless the client was given by the caller."""
        if self._owned:
            self.redis.close()

    def __enter__(self) -> SyncPublisher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _note(ids: list[EventId | None], commands: list[Command], replies: list[Any]) -> None:
    """Add the ids of a batch.

    Raises:
        PartialPublishError: not every command was answered with an id.
    """
    failures = [reply for reply in replies if isinstance(reply, Exception)]
    ids.extend(None if isinstance(reply, Exception) else _event_id(reply) for reply in replies)
    if failures:
        # The last of the replies may be what broke the connection, in the place of the first
        # missing one; the rest of the batch was sent as well.
        ids.extend([None] * (len(commands) - len(replies)))
        raise PartialPublishError(ids, translated(failures[0], "publish")) from failures[0]


def _unsent(ids: list[EventId | None], error: NotSentError) -> BroadcasterError:
    """The error for a batch of which nothing was sent."""
    reason = translated(error.__cause__, "publish")
    return PartialPublishError(ids, reason) if ids else reason


def _event_id(reply: bytes | str) -> EventId:
    # A client that the caller gave us may decode its replies.
    return EventId.of_entry(reply if isinstance(reply, bytes) else reply.encode())


@contextmanager
def _translating(doing: str, errors: tuple[type[Exception], ...] = TROUBLE) -> Iterator[None]:
    """Turn redis-py's errors into ours.

    Errors of the caller's own making (several slots in one MULTI, a pipeline used wrongly) stay as
    they are.
    """
    try:
        yield
    except (CrossSlotTransactionError, InvalidPipelineStack):
        raise
    except WatchError as error:
        # redis-py reports a connection that broke while it watched as a changed key. It is not:
        # whether the EXEC was executed is unknown.
        broken = error.__context__
        if isinstance(broken, UNAVAILABLE):
            raise translated(broken, doing) from error
        raise ConflictError("a watched key was changed by somebody else") from error
    except errors as error:
        raise translated(error, doing) from error
