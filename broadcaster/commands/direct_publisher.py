"""Publishes to Redis, with the interface of `HubPublisher`: an event with an id is stored once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from broadcaster.backend.driver.connect import connect_sync
from broadcaster.backend.publishing.idempotency import Submission, send_sync
from broadcaster.backend.publishing.outgoing import Commands
from broadcaster.core.event import EventId
from broadcaster.core.json.incoming import Incoming, publications
from broadcaster.errors import BroadcasterError, KeyReusedError, PartialPublishError
from broadcaster.settings import Settings


class DirectPublisher:
    """Publishes to the Redis of the settings; for one thread at a time."""

    def __init__(self, settings: Settings) -> None:
        """Open no connection yet.

        Args:
            settings: name Redis and the channels.

        Raises:
            ConfigurationError: there is no url of Redis, or a schema can't be read.
        """
        self._redis = connect_sync(settings.require_redis_url())
        self._checking = Commands(settings.channels, "channel")
        self._commands = Commands(settings.channels, "channel", checked=True)
        self._idempotency_s = settings.idempotency_s

    def check(self, channel: str, event: Incoming) -> None:
        """Check that an event can be published.

        Raises:
            UnknownChannelError, InvalidEventError: it can't.
        """
        self._checking.entry((channel, *event[:3]))

    def publish_many(self, channel: str, events: Sequence[Incoming]) -> list[EventId]:
        """Publish events that were checked, in order, and return their ids.

        Raises:
            KeyReusedError: the id of one of them was used for another event.
            BackendUnavailableError: Redis is away. Events may be stored.
            ConfigurationError: Redis refuses for good.
            PartialPublishError: one of these, after some events were stored.
        """
        submissions = [
            Submission(self._commands, one, "", self._idempotency_s)
            for one in publications(channel, events)
        ]
        failure: BroadcasterError | None = None
        try:
            send_sync(self._redis, submissions)
        except BroadcasterError as error:
            failure = error
        if any(one.refused for one in submissions):
            failure = KeyReusedError("its id was used for another event")
        ids = [id_ for one in submissions for id_ in one.ids]
        if failure and any(ids):
            raise PartialPublishError(ids, failure) from failure
        if failure:
            raise failure
        return cast("list[EventId]", ids)

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
