"""Publishers: they store each event with one `XADD`, in the packed form. Part of `backend`.

A publisher never sends a command twice, so an event whose id it has returned is in the stream once.
If an answer is lost, the event may be stored or not. The publisher raises then, and the caller
decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, cast

from broadcaster.backend.driver.connect import AsyncClient, connect
from broadcaster.backend.driver.errors import TROUBLE, NotSentError, translating
from broadcaster.backend.driver.exchange import exchange
from broadcaster.backend.publishing.idempotency import Sender
from broadcaster.backend.publishing.outgoing import (
    BATCH,
    IDEMPOTENCY_S,
    Channels,
    Commands,
    Maxlen,
    Outgoing,
    event_id,
    note,
    unsent,
)
from broadcaster.backend.publishing.transaction import Transaction, transaction
from broadcaster.core.catalogue import Catalogue
from broadcaster.core.event import EventId
from broadcaster.core.json.incoming import Publication, Published
from broadcaster.errors import KeyReusedError
from broadcaster.settings import Settings

_CONCURRENT = 50  # each write has a connection, and redis-py's pool refuses more than 100


class Addressed:
    """The channels of a publisher: the part that both publishers share."""

    def __init__(self, channels: Channels | None, maxlen: Maxlen, idempotency_s: float) -> None:
        self._commands = Commands(channels, maxlen)
        self._idempotency_s = idempotency_s

    @property
    def channels(self) -> Catalogue:
        """Return the channels that can be published to, by name."""
        return self._commands.channels

    def stream_of(self, channel: str, key: str = "") -> str:
        """Return the Redis key of the stream that holds a channel's events about a key.

        Raises:
            UnknownChannelError: there is no such channel.
        """
        return self.channels.resolve(channel, key).redis_key

    @property
    def outgoing(self) -> Commands:
        """Return what makes the entries of these channels, for other parts of `backend`."""
        return self._commands


class Publisher(Addressed):
    """Publishes events from asynchronous code.

    Any number of tasks may use it at a time: 50 write, and the others wait. Each transaction has a
    connection of its own while its block runs. A cancelled call closes its connection, and its
    events may be stored or not.

    Attributes:
        redis: the client. For commands of your own `commands()` gives it with our errors.
    """

    def __init__(
        self,
        redis_url_or_client: str | AsyncClient,
        *,
        channels: Channels | None = None,
        maxlen: Maxlen = "channel",
        idempotency_s: float = IDEMPOTENCY_S,
    ) -> None:
        """Make a publisher; no connection is opened before the first event.

        Args:
            redis_url_or_client: a url or a client. `aclose` closes only a client made from a url.
            channels: the channels that can be published to: the nodes' `Settings.channels`,
                channels by name, or an iterable of channels. None reads the settings as a node
                does: `BROADCASTER_CHANNELS`, else the file that `BROADCASTER_CONFIG` names, else
                the pet store's channels.
            maxlen: about how many entries each stream retains. `"channel"` takes the channel's
                `maxlen`; None never trims.
            idempotency_s: seconds for which an idempotency key is remembered.

        Raises:
            ConfigurationError: the url, the channels, their schemas or the settings can't be used.
        """
        super().__init__(channels, maxlen, idempotency_s)
        given = redis_url_or_client
        self._owned = isinstance(given, str)
        self.redis: AsyncClient = connect(given) if isinstance(given, str) else given
        self._places = asyncio.Semaphore(_CONCURRENT)
        foreign = not self._owned
        self._sender = Sender(
            self.redis, self._commands, self._places, idempotency_s, foreign=foreign
        )

    @classmethod
    def of(cls, settings: Settings, *, maxlen: Maxlen = "channel") -> Publisher:
        """Make a publisher to the Redis and the channels of the nodes' settings.

        Raises:
            ConfigurationError: the settings name no Redis, or its url can't be used.
        """
        url, channels = settings.require_redis_url(), settings.channels
        return cls(url, channels=channels, maxlen=maxlen, idempotency_s=settings.idempotency_s)

    async def publish(
        self,
        channel: str,
        *,
        type: str = "message",
        key: str = "",
        data: Any = None,
        idempotency_key: str = "",
    ) -> EventId:
        """Publish one event and return its id.

        Args:
            channel: the channel to publish to.
            type: the SSE event name; `message` needs no listener of its own in a browser.
            key: what the event is about; `""` for the whole channel.
            data: a str or bytes goes out as it is, any other value as compact JSON.
            idempotency_key: with the same key, the event is stored once, however often it is sent
                within `idempotency_s`. Then a call that has failed is safe to be repeated.

        Raises:
            UnknownChannelError: there is no such channel; nothing was sent.
            KeyReusedError: the idempotency key was used for another event; nothing was sent.
            InvalidEventError: no node could deliver it, or its data does not fit the channel's
                JSON Schema for its type; nothing was sent.
            BackendUnavailableError: Redis is away, or refuses for now (it is busy or full, or a
                right is missing). The event may be stored if the answer was lost.
            ConfigurationError: Redis refuses for good (a key that is no stream).
        """
        if idempotency_key:
            event = Publication(channel, [(type, key, data)], idempotency_key)
            return only_id(await self._sender.send([event]))
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

        This is no transaction: events of other producers may lie between them. Only one batch is
        held in memory, so `events` may be an iterator that is slow or larger than memory.

        Args:
            events: a `(channel, type, key, data)` for each event.
            batch: the number of events in one write.

        Raises:
            UnknownChannelError, InvalidEventError, BackendUnavailableError: nothing was sent.
            PartialPublishError: some events were sent. Its `ids` say which of them were stored.
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
        """Write events and the caller's own state in one `MULTI`: all of it, or nothing.

        On Cluster all keys must share one slot: `inventory` and `{inventory}:pets` do.

        Args:
            watch: keys that must not change meanwhile. With such keys, commands on
                `Transaction.redis` are executed at once (`await` them) until the first `publish`
                or `multi()`, and queued after it.

        Raises:
            ConflictError: a watched key was changed; nothing was written.
            BackendUnavailableError: Redis is away. If the connection broke at the end of the block,
                either all or nothing was written. Read the state to find out.
            ConfigurationError: Redis refuses for good. If it refuses the `MULTI` itself, for want
                of a right, the commands were executed one by one; the message says so.
        """
        return transaction(self.redis, self._commands, watch)

    @contextmanager
    def commands(self) -> Iterator[Any]:
        """Give the client for a block of the caller's own commands, with our errors.

        `redis` itself raises redis-py's errors, and many of their classes mean that Redis is away.
        The block should hold commands only: an OSError in it counts as an error of Redis.

        Yields:
            The client, typed as Any, since redis-py's types name every possible shape of a reply.

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


def only_id(published: Sequence[Published]) -> EventId:
    """Return the id of the only event. Raises a `KeyReusedError` if its key is another one's."""
    if published[0].refused:
        raise KeyReusedError("this idempotency key was used for another event")
    (id_,) = published[0].ids
    assert id_ is not None  # else Redis has refused it, and that was raised
    return id_
