"""The publisher of blocking code; `publisher` has that of asynchronous code. Part of `backend`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from broadcaster.backend.driver.connect import SyncClient, connect_sync
from broadcaster.backend.driver.errors import TROUBLE, NotSentError, translating
from broadcaster.backend.driver.exchange import exchange_sync
from broadcaster.backend.publishing.idempotency import Submission, send_sync
from broadcaster.backend.publishing.outgoing import (
    BATCH,
    IDEMPOTENCY_S,
    Channels,
    Maxlen,
    Outgoing,
    event_id,
    note,
    unsent,
)
from broadcaster.backend.publishing.publisher import Addressed, only_id
from broadcaster.core.event import EventId
from broadcaster.core.json.incoming import Publication
from broadcaster.settings import Settings


class SyncPublisher(Addressed):
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
        idempotency_s: float = IDEMPOTENCY_S,
    ) -> None:
        """Make a publisher; arguments and errors as for `Publisher`."""
        super().__init__(channels, maxlen, idempotency_s)
        given = redis_url_or_client
        self._owned = isinstance(given, str)
        self.redis: SyncClient = connect_sync(given) if isinstance(given, str) else given

    @classmethod
    def of(cls, settings: Settings, *, maxlen: Maxlen = "channel") -> SyncPublisher:
        """Make a publisher; arguments and errors as for `Publisher.of`."""
        url, channels = settings.require_redis_url(), settings.channels
        return cls(url, channels=channels, maxlen=maxlen, idempotency_s=settings.idempotency_s)

    def publish(
        self,
        channel: str,
        *,
        type: str = "message",
        key: str = "",
        data: Any = None,
        idempotency_key: str = "",
    ) -> EventId:
        """Publish one event and return its id; arguments and errors as for `Publisher.publish`."""
        if idempotency_key:
            event = Publication(channel, [(type, key, data)], idempotency_key)
            submission = Submission(self._commands, event, "", self._idempotency_s)
            send_sync(self.redis, [submission])
            return only_id([submission])
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
