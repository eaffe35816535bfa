"""Lets a few reads of the past run at a time. The others wait for their turn. Part of `backend`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from broadcaster.core.turns import Reader, Turns

_REST = 3.0
"""After a piece of work of 1 ms, the next one waits for 3 ms. With what a read costs elsewhere, in
the driver and for the filter, reads that queue up take about half of the event loop's time."""

T = TypeVar("T")


class Lane:
    """A queue in front of Redis, with a bounded number of reads that run at a time.

    Attributes:
        places: the number of reads that may run at a time.
        free: the places that no read has now.
    """

    def __init__(self, places: int) -> None:
        self.places = places
        self.free = places
        self._turns: Turns[asyncio.Future[None]] = Turns()
        self._working = asyncio.Lock()
        self._rested_at = 0.0

    def wait(self, turn: asyncio.Future[None], reader: Reader) -> None:
        """Let a read wait for a turn of a reader; `running` says when it has come.

        A read that several readers need may wait for the turn of each. It runs at the first one.
        """
        if not turn.done():
            self._turns.add(reader, turn)
            self._next()

    async def running(self, turn: asyncio.Future[None]) -> None:
        """Wait for the turn. Call `done` afterwards, unless this is cancelled."""
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it had its turn in this very moment
                self.done()
            raise

    def done(self) -> None:
        """Give the place to the next read."""
        self.free += 1
        self._next()

    def _next(self) -> None:
        while self.free and self._turns:
            turn = self._turns.take()
            if not turn.done():
                self.free -= 1
                turn.set_result(None)

    async def work(self, work: Callable[[], T]) -> tuple[T, float]:
        """Do what a read costs the event loop. While others wait, the loop has a rest after each.

        Returns:
            The result of the work, and the seconds that it took.
        """
        async with self._working:
            rest_s = self._rested_at - time.monotonic()
            if rest_s > 0 and self._turns:
                await asyncio.sleep(rest_s)
            began_s = time.perf_counter()
            result = work()
            cost_s = time.perf_counter() - began_s
            self._rested_at = time.monotonic() + _REST * cost_s
            return result, cost_s
