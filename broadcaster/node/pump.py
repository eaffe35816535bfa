"""From the log to the hub: one round over the subscribers at a time.

The pump takes each change from the log, applies it to the hub in slices so that others run
meanwhile, and wakes the subscribers that have to look anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator

from broadcaster.backend.log import Log
from broadcaster.core.hub import BEATS, Hub
from broadcaster.core.log import Batch, Change, Restart, Rewind
from broadcaster.core.subscriber import Subscriber
from broadcaster.node.health import Health

logger = logging.getLogger(__name__)

_WAKE_SLICE = 10
# Between two reads of a stream. A read costs about 0.2 ms of CPU however few events it brings, most
# of it the kernel's, and each event that comes meanwhile is one write less for every client.
_GATHER_S = 0.002
# Where two reads in a row have waited longer than this, events come one by one: gathering would
# bring no second one, and its timer costs as much as an event. In bursts one read of two is short.
_RARE_S = 0.005


class Pump:
    """Moves what the log tells into the hub.

    Attributes:
        turn: held during a round over the subscribers.
        loaded: by stream: set when its window has been filled once.
    """

    def __init__(self, hub: Hub, log: Log, health: Health) -> None:
        """Prepare.

        Args:
            hub: with the windows of all streams.
            log: tells the changes of the streams.
            health: is told of what was written.
        """
        self.turn = asyncio.Lock()
        self.loaded = {stream: asyncio.Event() for stream in hub.windows}
        self._hub = hub
        self._log = log
        self._health = health

    async def tail(self, stream: str) -> None:
        """Apply a stream's changes as they come, until cancelled."""
        window = self._hub.windows[stream]
        async with contextlib.aclosing(self._log.changes(stream, window)) as changes:
            asked_s, was_rare = time.monotonic(), False
            async for change in changes:
                is_rare = time.monotonic() - asked_s > _RARE_S
                async with self.turn:
                    sleepers = await self.apply(stream, change)
                await _wake(sleepers)
                if not (is_rare and was_rare):
                    await asyncio.sleep(_GATHER_S)
                asked_s, was_rare = time.monotonic(), is_rare

    async def apply(self, stream: str, change: Change) -> list[Subscriber]:
        """Apply one change. The caller holds the turn.

        Returns:
            Subscribers that have to be woken once the turn is over.
        """
        sleepers: list[Subscriber] = []
        match change:
            case Batch(frames):
                await _finish(self._hub.fan_out(stream, frames))
                self._health.measure(stream, frames)
            case Rewind(position):
                sleepers = self._hub.rewind(stream, position)
            case Restart(floor, frames, complete):
                sleepers = self._hub.restart(stream, floor, complete=complete)
                await _finish(self._hub.fan_out(stream, frames))
                self.loaded[stream].set()
        self._health.look_at_clock(stream)
        return sleepers

    async def beat(self, heartbeat_s: float) -> None:
        """Send heartbeats to quiet clients, each about every `heartbeat_s`, until cancelled."""
        while True:
            await asyncio.sleep(heartbeat_s / BEATS)
            async with self.turn:
                await _finish(self._hub.beat())


async def _wake(sleepers: list[Subscriber]) -> None:
    """Wake all, few at a time, so that other streams' events are not held up."""
    for start in range(0, len(sleepers), _WAKE_SLICE):
        for subscriber in sleepers[start : start + _WAKE_SLICE]:
            subscriber.wake()
        await asyncio.sleep(0)


async def _finish(round_: Iterator[None]) -> None:
    for _ in round_:
        await asyncio.sleep(0)


async def despite_errors(work: Callable[[], Awaitable[None]]) -> None:
    """Do work that goes on for ever, and begin it again after an error of ours."""
    while True:
        try:
            return await work()
        except Exception:  # a mistake of ours in one round must not end the node
            logger.exception("going on after an error that nobody expected")
            await asyncio.sleep(1.0)
