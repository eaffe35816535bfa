"""Adds requests to streams, for channels made on demand. Part of `backend`."""

from __future__ import annotations

import asyncio
from typing import Any

from broadcaster.backend.driver.connect import AsyncClient
from broadcaster.backend.driver.errors import TROUBLE, translated
from broadcaster.backend.sharing import Sending, SharedReads
from broadcaster.core.channel import MAXLEN
from broadcaster.core.event import EventId

_CONCURRENT = 4  # a bound, because each has a connection and thousands of clients may ask at once


class Requester:
    """Adds requests, which the workers of a consumer group answer with a run."""

    def __init__(self, client: AsyncClient) -> None:
        """Use a client without retries, since a command sent twice would be two requests."""
        self._client: Any = client
        self._places = asyncio.Semaphore(_CONCURRENT)
        self._open = SharedReads()  # a request that was sent is not cut, or it costs a connection

    async def request(self, redis_key: str, key: str) -> EventId:
        """Add a request and return its id, which names the run.

        If it is cancelled, the request is added all the same, unless it still waits for its turn.

        Raises:
            BackendUnavailableError: Redis is away. The request may have been added all the same.
                In that case no client follows its run.
            ConfigurationError: Redis refuses for good (a key that is no stream).
        """

        async def add(sending: Sending) -> EventId:
            async with self._places:
                sending()
                fields = {b"key": key}
                return EventId.of_entry(
                    await self._client.xadd(redis_key, fields, maxlen=MAXLEN, approximate=True)
                )

        try:
            return await self._open.of(object(), add)  # shared with no other caller
        except TROUBLE as error:
            raise translated(error, f"add a request to {redis_key}") from error
