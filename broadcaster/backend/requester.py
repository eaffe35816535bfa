"""Adds requests to streams, for channels made on demand. Part of `backend`."""

from __future__ import annotations

import asyncio
from typing import Any

from broadcaster.backend.driver.connect import AsyncClient
from broadcaster.backend.driver.errors import TROUBLE, translated
from broadcaster.core.channel import MAXLEN
from broadcaster.core.event import EventId

_CONCURRENT = 4  # a bound, because each has a connection and thousands of clients may ask at once


class Requester:
    """Adds requests, which the workers of a consumer group answer with a run."""

    def __init__(self, client: AsyncClient) -> None:
        """Use a client without retries, since a command sent twice would be two requests."""
        self._client: Any = client
        self._places = asyncio.Semaphore(_CONCURRENT)

    async def request(self, redis_key: str, key: str) -> EventId:
        """Add a request and return its id, which names the run.

        Raises:
            BackendUnavailableError: Redis is away. The request may have been added all the same.
                In that case no client follows its run.
            ConfigurationError: Redis refuses for good (a key that is no stream).
        """
        try:
            async with self._places:
                return EventId.of_entry(
                    await self._client.xadd(
                        redis_key, {b"key": key}, maxlen=MAXLEN, approximate=True
                    )
                )
        except TROUBLE as error:
            raise translated(error, f"add a request to {redis_key}") from error
