"""Spreads work that comes in one instant over several turns of the event loop.

When a balancer dies, thousands of clients are lost in one instant, and when a window is loaded,
thousands of newcomers are served. Each of them costs a part of a millisecond. If all of that were
done in one turn of the event loop, deliveries and heartbeats of all other clients would wait for
its end.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial

PER_TURN = 10
"""Places in a turn. Ten of the pieces of work that are spread take one to five milliseconds."""
_PLACE_S = 0.0002
"""Longer work takes a place for each time that has this many seconds."""

Later = Callable[[Callable[[], object]], object]
"""Calls a function in the next turn of the event loop, as `loop.call_soon` does."""


class Spread:
    """Makes a few calls in each turn of the event loop, in the order in which they were asked for.

    While there is little to do, each call is made at once.

    Attributes:
        per_turn: the places of a turn. A call takes one.
        taken: the places that were taken since a call had to wait for a turn. If there are none
            left, the next call waits. Work that is not called here adds its own.
    """

    def __init__(self, per_turn: int = PER_TURN, call_soon: Later | None = None) -> None:
        """Begin without calls.

        Args:
            per_turn: the places of a turn.
            call_soon: that of an event loop; None means the running one.
        """
        self.per_turn = per_turn
        self.taken = 0
        self._call_soon = call_soon
        self._waiting: deque[Callable[[], object]] = deque()
        self._awaited = False  # the next turn

    def call(self, function: Callable[[], object]) -> None:
        """Call a function: at once if there is a place, and else in a later turn."""
        if self._waiting or self.taken >= self.per_turn:
            self._waiting.append(function)
            self._await_turn()
        else:
            self.taken += 1
            function()

    async def turn(self, cost_s: float = 0.0) -> None:
        """Wait for a place, or for as many as a longer piece of work takes.

        Args:
            cost_s: seconds that the work takes, such as those that the last piece of it has taken.
        """
        turn = asyncio.get_running_loop().create_future()
        self.call(partial(self._begin, turn, int(cost_s / _PLACE_S)))
        await turn

    def _begin(self, turn: asyncio.Future[None], further: int) -> None:
        if not turn.done():  # its task may have been cancelled
            self.taken += further
            turn.set_result(None)

    def _await_turn(self) -> None:
        if not self._awaited:
            self._awaited = True
            call_soon = self._call_soon or asyncio.get_running_loop().call_soon
            call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._awaited, self.taken = False, 0
        try:
            while self._waiting and self.taken < self.per_turn:
                self.taken += 1
                self._waiting.popleft()()
        finally:
            if self._waiting:
                self._await_turn()
