"""Begins, finds and stops the runs that clients of a node begin by a POST."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from itertools import count

from broadcaster.backend.driver.connect import AsyncClient
from broadcaster.backend.runs.records import Records
from broadcaster.backend.runs.requester import Requester
from broadcaster.backend.runs.values import Asked
from broadcaster.core.channel import Channel
from broadcaster.core.event import EventId
from broadcaster.core.fanout.hub import Hub
from broadcaster.core.runs.record import Record, new_run
from broadcaster.core.runs.silent import Waiting
from broadcaster.errors import BackendUnavailableError, BroadcasterError, ConfigurationError
from broadcaster.node.runs.waiting import Followed, tell
from broadcaster.settings import Settings
from broadcaster.web.ticks import tick

logger = logging.getLogger(__name__)

_WATCH_S = 1.0
_SELDOM = 5  # of so many watches, one looks for runs that end while no client here follows any
_ID_BYTES = 16
_AT_ONCE = 500  # the most runs in one question whether a worker has them


class Runs:
    """The runs of all channels that are made on demand."""

    def __init__(self, settings: Settings, hub: Hub, now_ms: Callable[[], int]) -> None:
        """Store the arguments. Nothing is connected yet.

        Args:
            settings: of the node.
            hub: has the followers of the runs.
            now_ms: returns milliseconds since 1970, by Redis's clock.
        """
        self._settings = settings
        self._now_ms = now_ms
        self._client: AsyncClient | None = None
        self._hub = hub
        self._channels = [c for c in settings.channels.values() if c.requests]
        self._followed = [Followed(hub, channel) for channel in self._channels]

    def use(self, client: AsyncClient) -> None:
        """Keep the records in Redis, by a client that the caller closes."""
        self._client = client

    def _connected(self) -> AsyncClient:
        if self._client is None:
            raise ConfigurationError("runs need a Redis: set redis_url")
        return self._client

    def _records(self, channel: Channel) -> Records:
        (stream,) = channel.streams.values()
        return Records(self._connected(), stream, channel.maxlen)

    async def begin(
        self, channel: Channel, key: str, owner: str, body: bytes, run: EventId | None = None
    ) -> EventId | None:
        """Ask the workers of a channel for a run, and return its id.

        Args:
            channel: that is made on demand.
            key: what the run is about.
            owner: the subject that asks; empty if that is not known.
            body: for the worker.
            run: its id; None draws one. One that has begun before goes on as it is.

        Returns:
            The id. None if the channel has all the requests that it may have, or the owner all the
            runs.

        Raises:
            BackendUnavailableError: Redis is away. A run may have begun that no client knows.
            ConfigurationError: Redis refuses for good, or there is none.
        """
        settings, client = self._settings, self._connected()
        wait_s, most = settings.run_wait_s, settings.runs_per_subject
        requester = Requester(client, {}, limit=settings.max_requests, ttl_s=wait_s)
        if await requester.is_full(channel.requests):
            return None
        run = run or new_run(os.urandom(_ID_BYTES))
        asked = Asked(key, str(run), owner, body, wait_s, settings.run_ttl_s)
        if not await self._records(channel).create(run, asked, most if owner else 0):
            return None
        await requester.request(channel.requests, key, run)
        return run

    async def newest(self, channel: Channel, key: str) -> EventId | None:
        """Return the newest run about a key; None if there is none.

        Raises:
            BackendUnavailableError, ConfigurationError: as for `begin`.
        """
        return await self._records(channel).newest(key)

    async def record(self, channel: Channel, run: EventId) -> Record | None:
        """Return the record of a channel's run; None if there is none.

        Raises:
            BackendUnavailableError, ConfigurationError: as for `begin`.
        """
        return await self._records(channel).find(run)

    async def find(self, run: EventId) -> tuple[Channel, Record] | None:
        """Return a run of any channel, and its channel; None if there is none.

        Raises:
            BackendUnavailableError, ConfigurationError: as for `begin`.
        """
        for channel in self._channels:
            if record := await self.record(channel, run):
                return channel, record
        return None

    async def waiting(self, channel: Channel, run: EventId) -> Waiting | None:
        """Return for how long no worker has had a run; None if one has it, or it is over.

        Raises:
            BackendUnavailableError, ConfigurationError: as for `begin`.
        """
        (found,) = await self._records(channel).look([run])
        return found

    async def stop(self, channel: Channel, run: EventId) -> None:
        """End a run, unless it is over: clients get `stopped`.

        Raises:
            BackendUnavailableError, ConfigurationError: as for `begin`.
        """
        await self._records(channel).stop(run)

    async def watch(self) -> None:
        """Tell clients that no worker has their run, and end the runs that no worker takes.

        A run without a client here ends some seconds later than one with a client. Otherwise each
        idle node would ask Redis once per second and channel.
        """
        for watched in count() if self._channels else ():
            await tick(_WATCH_S)
            if watched % _SELDOM and not self._hub.subscribers.runs:
                continue
            try:
                await self.sweep()
            except BackendUnavailableError as error:
                logger.debug("runs are looked after later: %s", error)
            except BroadcasterError as error:
                logger.warning("this node does not look after runs: %s", error)
                return

    async def sweep(self) -> None:
        """Look after the runs once.

        Raises:
            BackendUnavailableError, ConfigurationError: as for `begin`.
        """
        for channel, followed in zip(self._channels, self._followed, strict=True):
            records = self._records(channel)
            due = [EventId.parse(run) for run in await records.due(self._now_ms(), _AT_ONCE)]
            runs = list(dict.fromkeys([*due, *followed.to_look_at(due)]))
            for run, found in zip(runs, await records.look(runs), strict=True):
                if found and found.left_ms > 0:
                    tell(self._hub, run, found)
                elif run in due:
                    await records.end_if_due(run)
