"""Moves changes from the log to the hub, in one round over the subscribers at a time.

The pump takes each change from the log and applies it to the hub in slices, so that other tasks run
in between. Then it wakes the subscribers whose next step has changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence

from broadcaster.backend.log import Log
from broadcaster.core.fanout.heartbeat import BEATS
from broadcaster.core.fanout.hub import Hub
from broadcaster.core.fanout.subscriber import Subscriber
from broadcaster.core.log import Batch, Change, Restart, Rewind
from broadcaster.core.sse import Frame
from broadcaster.node.health import Health

logger = logging.getLogger(__name__)

_WAKE_SLICE = 10
# The pause between two reads of a stream. A read costs about 0.2 ms of CPU, mostly in the kernel,
# however few events it brings. Each event that arrives in the pause saves every client one write.
_GATHER_S = 0.002
# If two reads in a row have waited longer than this, events are rare and the pump does not pause:
# no second event would arrive, and the timer costs as much as an event. In bursts, one read of two
# is short.
_RARE_S = 0.005
_AGAIN_S = 1.0  # after an unexpected error


class Pump:
    """Applies changes of the log to the hub.

    Attributes:
        turn: a lock, held during a round over the subscribers.
        loaded: one asyncio event per stream, set once its window is loaded.
    """

    def __init__(self, hub: Hub, log: Log, health: Health) -> None:
        """Create the lock and the events. Nothing is read before `tail`.

        Args:
            hub: holds the windows of all streams.
            log: yields the changes of the streams.
            health: measures the frames that were written.
        """
        self.turn = asyncio.Lock()
        self.loaded = {stream: asyncio.Event() for stream in hub.windows}
        self._hub = hub
        self._log = log
        self._health = health

    async def tail(self, stream: str) -> None:
        """Apply a stream's changes as they come, until cancelled.

        Raises:
            RuntimeError: the log's `changes` has ended. Without an error, the stream would stand
                still, and no operator would see why.
        """
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
        raise RuntimeError(f"the log has ended its changes of {stream!r}, which go on for ever")

    async def apply(self, stream: str, change: Change) -> list[Subscriber]:
        """Apply one change. The caller must hold `turn`.

        Returns:
            The subscribers to wake after `turn` is released.
        """
        sleepers: list[Subscriber] = []
        written: Sequence[Frame] = ()
        match change:
            case Batch(frames):
                await _finish(self._hub.fan_out(stream, frames))
                written = frames
            case Rewind(position):
                sleepers = self._hub.rewind(stream, position)
            case Restart(floor, frames, complete, parted):
                sleepers = self._hub.restart(stream, floor, complete=complete, parted=parted)
                await _finish(self._hub.fan_out(stream, frames))
                self.loaded[stream].set()
        self._health.measure(stream, written)
        return sleepers

    async def beat(self, heartbeat_s: float) -> None:
        """Send heartbeats to quiet clients, each about every `heartbeat_s`, until cancelled."""
        while True:
            await asyncio.sleep(heartbeat_s / BEATS)
            async with self.turn:
                await _finish(self._hub.beat())


async def _wake(sleepers: list[Subscriber]) -> None:
    """Wake all of them, a few at a time, so that events of other streams are not delayed."""
    for start in range(0, len(sleepers), _WAKE_SLICE):
        for subscriber in sleepers[start : start + _WAKE_SLICE]:
            subscriber.wake()
        await asyncio.sleep(0)


async def _finish(round_: Iterator[None]) -> None:
    for _ in round_:
        await asyncio.sleep(0)


async def despite_errors(work: Callable[[], Awaitable[None]]) -> None:
    """Run work that goes on for ever, and start it again one second after an unexpected error."""
    while True:
        try:
            return await work()
        except Exception:  # a bug that shows in one round must not end the node
            logger.exception("unexpected error, trying again in %g s", _AGAIN_S)
            await asyncio.sleep(_AGAIN_S)
