"""Lets a few reads of the past run at a time. The others wait for their turn. Part of `backend`."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from broadcaster.core.fanout.turns import Reader, Turns

_REST = 3.0
"""After a piece of work of 1 ms, the next client's turn comes 3 ms later. With what a read costs
elsewhere, in the driver and for the filter, reads take about half of the event loop's time."""

_NARROW_S = 30.0

T = TypeVar("T")


class Lane:
    """A queue in front of Redis, with a bounded number of reads that run at a time.

    A client that reads on alone does not rest between its reads. But clients that come and go rest,
    even if none of them waits yet. While the event loop is busy, they wait to be accepted.

    Attributes:
        places: the number of reads that may run at a time.
        free: the places that no read has now.
    """

    def __init__(self, places: int, *, of_one: int | None = None) -> None:
        """Begin with no reads.

        Args:
            places: the number of reads that may run at a time.
            of_one: how many of them may be of one address; None means all.
        """
        self.places = self._most = places
        self.free = places
        self._of_one = of_one or places
        self._running: dict[asyncio.Future[None], str] = {}  # the turns, and their addresses
        self._last: Reader | None = None
        self._turns: Turns[asyncio.Future[None]] = Turns()
        self._rested_s = 0.0  # when the next turn may come
        self._alarm: asyncio.TimerHandle | None = None

    def wait(self, turn: asyncio.Future[None], reader: Reader) -> None:
        """Let a read wait for a turn of a reader; `running` says when it has come.

        A read that several readers need may wait for the turn of each. It runs at the first one.
        """
        if reader is self._last and not self._turns:
            self._rested_s = 0.0
        self._last = reader
        if not turn.done():
            self._turns.add(reader, turn)
            self._next()

    async def running(self, turn: asyncio.Future[None]) -> None:
        """Wait for the turn. Call `done` afterwards, unless this is cancelled."""
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it had its turn in this very moment
                self.done(turn)
            raise

    def done(self, turn: asyncio.Future[None]) -> None:
        """Give the place of a turn to the next read."""
        self.free += 1
        del self._running[turn]
        self._next()

    def work(self, work: Callable[[], T]) -> tuple[T, float]:
        """Do what a read costs the event loop. The turns of others come after a rest.

        Returns:
            The result of the work, and the seconds of CPU that it took.
        """
        began_s = time.thread_time()  # on a busy machine, others' work is no cost of this one
        result = work()
        cost_s = time.thread_time() - began_s
        self._rested_s = max(self._rested_s, time.monotonic()) + _REST * cost_s
        return result, cost_s

    def narrow(self) -> None:
        """Have one place for a while: Redis accepts no more connections, and one may be there."""
        if self.places > 1:
            self.free -= self.places - 1
            self.places = 1
            asyncio.get_running_loop().call_later(_NARROW_S, self._widen)

    def _widen(self) -> None:
        self.free += self._most - self.places
        self.places = self._most
        self._next()

    def _next(self) -> None:
        while self.free > 0 and self._turns and self._alarm is None:
            rest_s = self._rested_s - time.monotonic()
            if rest_s > 0:
                self._alarm = asyncio.get_running_loop().call_later(rest_s, self._wake)
                return
            taken = self._turns.take(self._busy())
            if taken is None:
                return
            address, turn = taken
            if not turn.done():
                self.free -= 1
                self._running[turn] = address
                turn.set_result(None)

    def _busy(self) -> set[str]:
        running = Counter(self._running.values())
        return {address for address, count in running.items() if count >= self._of_one}

    def _wake(self) -> None:
        self._alarm = None
        self._next()
