"""Publishes for clients of a node, which have no access to Redis."""

from __future__ import annotations

from collections.abc import Sequence

from broadcaster.backend.outgoing import Outgoing
from broadcaster.backend.publisher import Publisher
from broadcaster.core.event import EventId
from broadcaster.core.incoming import Incoming
from broadcaster.settings import Settings


class Publishing:
    """The publisher of one node. It opens no connection before the first event."""

    def __init__(self, settings: Settings) -> None:
        """Store the settings, which have the channels, and name Redis.

        Args:
            settings: of the node.
        """
        self._settings = settings
        self._publisher: Publisher | None = None

    async def publish(self, channel: str, events: Sequence[Incoming]) -> list[EventId]:
        """Publish events to a channel, in order, and return their ids.

        Raises:
            InvalidEventError: no node could deliver one of them; nothing was sent.
            BackendUnavailableError: Redis is away; nothing was sent, or an answer was lost.
            PartialPublishError: some of them were sent. Its `ids` say which were stored.
            ConfigurationError: there is no Redis, or it refuses for good.
        """
        if self._publisher is None:
            self._publisher = Publisher.of(self._settings)
        outgoing = [Outgoing(channel, event.type, event.key, event.data) for event in events]
        if len(events) == 1:
            _, type_, key, data = outgoing[0]
            return [await self._publisher.publish(channel, type=type_, key=key, data=data)]
        return await self._publisher.publish_many(outgoing, batch=len(outgoing))

    async def aclose(self) -> None:
        """Close the connections."""
        if self._publisher:
            await self._publisher.aclose()
