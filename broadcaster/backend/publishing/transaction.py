"""Transactions: events and the caller's own state in one `MULTI`. Part of `backend`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from broadcaster.backend.driver.connect import AsyncClient
from broadcaster.backend.driver.errors import OF_REDIS_PY, translating
from broadcaster.backend.publishing.outgoing import Commands, event_id
from broadcaster.core.event import EventId


class Transaction:
    """Events and commands that are executed together; see `Publisher.transaction`.

    Attributes:
        redis: the pipeline, for the caller's own commands.
        ids: after the block, the ids of its events in order; empty within it.
    """

    def __init__(self, commands: Commands, pipe: Any, *, queues: bool) -> None:
        """Wrap a pipeline.

        Args:
            commands: makes the command of an event.
            pipe: the pipeline of redis-py.
            queues: True if it queues commands already; False while it watches keys.
        """
        self.redis = pipe
        self.ids: list[EventId] = []
        self._commands = commands
        self._queues = queues
        self._positions: list[int] = []

    def multi(self) -> None:
        """End the reading of watched keys: queue all commands from here on."""
        if not self._queues:
            self.redis.multi()
            self._queues = True

    def publish(
        self, channel: str, *, type: str = "message", key: str = "", data: Any = None
    ) -> None:
        """Queue an event; arguments as for `Publisher.publish`.

        Raises:
            UnknownChannelError, InvalidEventError: as for `Publisher.publish`. If the error leaves
                the block, nothing is written.
        """
        command = self._commands.xadd((channel, type, key, data))
        self.multi()
        self._positions.append(len(self.redis))
        self.redis.execute_command(*command)

    def _read_ids(self, replies: Sequence[Any]) -> None:
        self.ids = [event_id(replies[position]) for position in self._positions]


@asynccontextmanager
async def transaction(
    client: AsyncClient, commands: Commands, watch: Sequence[str]
) -> AsyncIterator[Transaction]:
    """Run a block and execute its queued commands; see `Publisher.transaction`."""
    doing = "publish in a transaction"
    with translating(doing, OF_REDIS_PY):
        async with client.pipeline(transaction=True) as pipe:
            made = Transaction(commands, pipe, queues=not watch)
            if watch:
                with translating(doing):
                    await pipe.watch(*watch)
            yield made
            with translating(doing):
                made._read_ids(await pipe.execute())
