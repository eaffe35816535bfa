"""Publishes for clients of a node, which have no access to Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from broadcaster.backend.driver.connect import AsyncClient, connect
from broadcaster.backend.publishing.idempotency import Sender
from broadcaster.backend.publishing.outgoing import Commands
from broadcaster.core.counters import from_zero
from broadcaster.core.json.incoming import Publication, Published
from broadcaster.errors import PartialPublishError
from broadcaster.settings import Settings

_CONCURRENT = 20  # each write has a connection


class Publishing:
    """Writes the publications of one node. It opens no connection before the first.

    Attributes:
        published: events with an id in an answer, by channel. What is sent again counts again.
    """

    def __init__(self, settings: Settings) -> None:
        """Store the settings, which have the channels, and name Redis.

        Args:
            settings: of the node.
        """
        self.published = from_zero(*settings.channels)
        self._settings = settings
        self._client: AsyncClient | None = None
        self._sender: Sender | None = None

    async def publish(
        self, publications: Sequence[Publication], subject: str = ""
    ) -> Sequence[Published]:
        """Publish events in order; errors as for `Sender.send`. The caller has checked them.

        Args:
            publications: to one channel.
            subject: the sender, whose idempotency keys are its own.

        Returns:
            What became of each.

        Raises:
            ConfigurationError: there is no Redis, too.
        """
        if self._sender is None:
            settings = self._settings
            self._client = connect(settings.require_redis_url(), client_name="broadcaster")
            commands = Commands(settings.channels, "channel", checked=True)
            places = asyncio.Semaphore(_CONCURRENT)
            self._sender = Sender(self._client, commands, places, settings.idempotency_s)
        channel = publications[0].channel
        try:
            found = await self._sender.send(publications, subject)
        except PartialPublishError as error:
            self.published[channel] += len(error.ids) - error.ids.count(None)
            raise
        ids = [id_ for one in found for id_ in one.ids]
        self.published[channel] += len(ids) - ids.count(None)
        return found

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client:
            await self._client.aclose()
