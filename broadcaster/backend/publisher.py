"""Publishing: events to stream entries, one `XADD` each, in the packed form. Part of `backend`.

A publisher announces an event by returning its id, and never sends a command twice: what was
announced is in the stream once. Where an answer is lost, it says so and lets the caller decide.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, cast

from broadcaster.backend.driver.connect import AsyncClient, SyncClient, connect, connect_sync
from broadcaster.backend.driver.errors import TROUBLE, NotSentError, translating
from broadcaster.backend.driver.exchange import exchange, exchange_sync
from broadcaster.backend.outgoing import (
    BATCH,
    Channels,
    Commands,
    Maxlen,
    Outgoing,
    event_id,
    note,
    unsent,
)
from broadcaster.backend.transaction import Transaction, transaction
from broadcaster.core.catalogue import Catalogue
from broadcaster.core.event import EventId
from broadcaster.settings import Settings

_CONCURRENT = 50  # each write has a connection, and redis-py's pool refuses more than 100


class _Addressed:
    """What both publishers know of their channels."""

    def __init__(self, channels: Channels | None, maxlen: Maxlen) -> None:
        self._commands = Commands(channels, maxlen)

    @property
    def channels(self) -> Catalogue:
        """The channels that can be published to, by name."""
        return self._commands.channels

    def stream_of(self, channel: str, key: str = "") -> str:
        """The Redis key of the stream that a channel's events about a key are in.

        Raises:
            UnknownChannelError: there is no such channel.
        """
        return self.channels.resolve(channel, key).redis_key


class Publisher(_Addressed):
    """Publishes events from asynchronous code.

    Safe for any number of tasks at a time, of which 50 write and the others wait; each transaction
    has a connection while its block runs. Cancelling a call closes its connection; whether its
    events were stored is then unknown.

    Attributes:
        redis: the client. For commands of your own `commands()` gives it with our errors.
    """

    def __init__(
        self,
        redis_url_or_client: str | AsyncClient,
        *,
        channels: Channels | None = None,
        maxlen: Maxlen = "channel",
    ) -> None:
        """Make a publisher; no connection is opened before the first event.

        Args:
            redis_url_or_client: a url (the client is then ours and closed with us) or a client.
            channels: what can be published to: the nodes' `Settings.channels`, channels by name,
                or an iterable of channels. None reads the environment's settings, as a node does:
                `BROADCASTER_CHANNELS`, the file that `BROADCASTER_CONFIG` names, else the pet
                store's channels.
            maxlen: entries that each stream retains, about: `"channel"` is what its channel says;
                None never trims.

        Raises:
            ConfigurationError: the url, the channels or the settings can't be used.
        """
        super().__init__(channels, maxlen)
        given = redis_url_or_client
        self._owned = isinstance(given, str)
        self.redis: AsyncClient = connect(given) if isinstance(given, str) else given
        self._places = asyncio.Semaphore(_CONCURRENT)

    @classmethod
    def of(cls, settings: Settings, *, maxlen: Maxlen = "channel") -> Publisher:
        """Make a publisher to the Redis and the channels of the nodes' settings.

        Raises:
            ConfigurationError: the settings name no Redis, or its url can't be used.
        """
        return cls(settings.require_redis_url(), channels=settings.channels, maxlen=maxlen)

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
            UnknownChannelError: there is no such channel; nothing was sent.
            InvalidEventError: no node could deliver it; nothing was sent.
            BackendUnavailableError: Redis is away; the event may be stored if the answer was lost.
            ConfigurationError: Redis refuses for good (rights, a key that is no stream).
        """
        command = self._commands.xadd((channel, type, key, data))
        with translating(f"publish to {channel}"):
            async with self._places:
                return event_id(await self.redis.execute_command(*command))

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
            UnknownChannelError, InvalidEventError, BackendUnavailableError: nothing was sent.
            PartialPublishError: some events were sent; it says which were stored.
        """
        ids: list[EventId | None] = []
        for commands in self._commands.batches(events, batch, ids):
            replies: list[Any] = []
            try:
                async with self._places:
                    await exchange(self.redis, commands, replies)
            except NotSentError as error:
                raise unsent(ids, error) from error.__cause__
            except TROUBLE as error:
                replies.append(error)
            note(ids, commands, replies)
        return cast("list[EventId]", ids)

    def transaction(self, *watch: str) -> AbstractAsyncContextManager[Transaction]:
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
        return transaction(self.redis, self._commands, watch)

    @contextmanager
    def commands(self) -> Iterator[Any]:
        """Give the client for a block of the caller's own commands, with our errors.

        `redis` itself raises redis-py's errors, of which many classes mean that Redis is away. Only
        commands belong in the block: an OSError in it counts as Redis's.

        Yields:
            The client, as Any: redis-py's types name every shape that a reply can have.

        Raises:
            BackendUnavailableError: Redis is away; a command may have been executed if its answer
                was lost.
            ConfigurationError: Redis refuses for good.
        """
        with translating("run a command"):
            yield self.redis

    async def aclose(self) -> None:
        """Close the connections, unless the client was given by the caller."""
        if self._owned:
            await self.redis.aclose()

    async def __aenter__(self) -> Publisher:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class SyncPublisher(_Addressed):
    """Publishes events from blocking code; for one thread at a time.

    Attributes:
        redis: the client. For commands of your own `commands()` gives it with our errors.
    """

    def __init__(
        self,
        redis_url_or_client: str | SyncClient,
        *,
        channels: Channels | None = None,
        maxlen: Maxlen = "channel",
    ) -> None:
        """Make a publisher; arguments and errors as for `Publisher`."""
        super().__init__(channels, maxlen)
        given = redis_url_or_client
        self._owned = isinstance(given, str)
        self.redis: SyncClient = connect_sync(given) if isinstance(given, str) else given

    @classmethod
    def of(cls, settings: Settings, *, maxlen: Maxlen = "channel") -> SyncPublisher:
        """Make a publisher; arguments and errors as for `Publisher.of`."""
        return cls(settings.require_redis_url(), channels=settings.channels, maxlen=maxlen)

    def publish(
        self, channel: str, *, type: str = "message", key: str = "", data: Any = None
    ) -> EventId:
        """Publish one event and return its id; arguments and errors as for `Publisher.publish`."""
        command = self._commands.xadd((channel, type, key, data))
        with translating(f"publish to {channel}"):
            client: Any = self.redis
            return event_id(client.execute_command(*command))

    def publish_many(
        self, events: Iterable[Outgoing | tuple[str, str, str, Any]], *, batch: int = BATCH
    ) -> list[EventId]:
        """Publish events in order; as `Publisher.publish_many`."""
        ids: list[EventId | None] = []
        for commands in self._commands.batches(events, batch, ids):
            replies: list[Any] = []
            try:
                exchange_sync(self.redis, commands, replies)
            except NotSentError as error:
                raise unsent(ids, error) from error.__cause__
            except TROUBLE as error:
                replies.append(error)
            note(ids, commands, replies)
        return cast("list[EventId]", ids)

    @contextmanager
    def commands(self) -> Iterator[Any]:
        """Give the client for the caller's own commands; as `Publisher.commands`."""
        with translating("run a command"):
            yield self.redis

    def close(self) -> None:
        """Close the connections, unless the client was given by the caller."""
        if self._owned:
            self.redis.close()

    def __enter__(self) -> SyncPublisher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
