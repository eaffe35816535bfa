"""A folder: keeps the checkpoints of all streams that have a state. `broadcaster fold` runs it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from broadcaster.backend.checkpoints.checkpoint import Found
from broadcaster.backend.checkpoints.flush import Flush
from broadcaster.backend.checkpoints.moving import Moving
from broadcaster.backend.driver.connect import connect
from broadcaster.backend.log import RedisLog
from broadcaster.core.channel import Channel
from broadcaster.core.history.window import Window
from broadcaster.core.state.values import Rules
from broadcaster.errors import BroadcasterError
from broadcaster.node.pump import despite_errors
from broadcaster.node.state.folding import Folding

logger = logging.getLogger(__name__)

TIDY_S = 5.0
"""Seconds between two looks whether keys have moved to other shards."""
_TIMEOUT_S = 5.0
_FINISH_S = 5.0
# For the tailer, which compares what it has read with what Redis has after a reconnect.
_WINDOW_EVENTS = 1000
_WINDOW_BYTES = 4 * 1024 * 1024


class Folded(NamedTuple):
    """A stream that has a state.

    Attributes:
        name: of the stream, as in logs.
        redis_key: of the stream.
        rules: of its state.
        shards: of its channel.
    """

    name: str
    redis_key: str
    rules: Rules
    shards: int = 1


def folded(channels: Iterable[Channel]) -> list[Folded]:
    """Return the streams of the channels that have a state."""
    return [
        Folded(name, redis_key, rules, channel.shards)
        for channel in channels
        if (rules := channel.state_rules)
        for name, redis_key in channel.streams.items()
    ]


class Folder:
    """Follows streams, and keeps their checkpoints.

    Attributes:
        foldings: one for each stream.
    """

    def __init__(self, url: str, streams: Sequence[Folded], *, max_event_bytes: int) -> None:
        """Name the streams. Nothing is sent before `run`.

        Args:
            url: of Redis.
            streams: all that have a state.
            max_event_bytes: larger events are skipped, as nodes do.

        Raises:
            ConfigurationError: the url can't be used.
        """
        keys = {stream.name: stream.redis_key for stream in streams}
        self._log = RedisLog(url, keys, max_event_bytes=max_event_bytes)
        self._writing = connect(url, timeout_s=_TIMEOUT_S, client_name="broadcaster")
        self._reading = connect(url, timeout_s=_TIMEOUT_S, client_name="broadcaster")
        self._turn = asyncio.Lock()
        self._max_event_bytes = max_event_bytes
        self._moving: list[Moving] = []
        self.foldings = [self._folding(stream) for stream in streams]

    def _folding(self, stream: Folded) -> Folding:
        name, key, rules, shards = stream
        rules = rules._replace(max_bytes=0)  # nodes have the bound
        moving = Moving(self._reading, key, rules, shards, max_event_bytes=self._max_event_bytes)
        self._moving.append(moving)
        window = Window(_WINDOW_EVENTS, _WINDOW_BYTES)
        read = partial(self._in_turn, moving.read)
        return Folding(name, rules, shards, self._log, window, read, Flush(self._writing, key))

    async def _tidy(self, moving: Moving, folding: Folding) -> None:
        """Remove what has moved to other shards, once all of it has arrived there."""
        moved = False
        while True:
            with contextlib.suppress(BroadcasterError):
                async with self._turn:
                    obsolete = await moving.obsolete()
                if obsolete is not None:
                    break
            moved = True
            await asyncio.sleep(TIDY_S)
        for stream in obsolete if moving.is_first else ():
            await Flush(self._writing, stream).remove()
            logger.info("the checkpoint of %r is removed: its keys have moved", stream)
        if moved:
            folding.begin_again()  # without the keys that have moved away

    async def _in_turn(self, read: Callable[[], Awaitable[Found]]) -> Found:
        async with self._turn:
            return await read()

    async def run(self, stop: asyncio.Event) -> None:
        """Fold until an event is set. Then flush what is left, for up to 5 s.

        Args:
            stop: the event.
        """
        tasks = [asyncio.create_task(despite_errors(one.run)) for one in self.foldings]
        pairs = zip(self._moving, self.foldings, strict=True)
        tasks += [asyncio.create_task(self._tidy(*pair)) for pair in pairs]
        try:
            await stop.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FINISH_S):
                    await asyncio.gather(*(one.finish() for one in self.foldings))
            await self._log.aclose()
            await self._writing.aclose()
            await self._reading.aclose()
