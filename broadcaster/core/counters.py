"""What is counted where things happen: plain numbers, which cost next to nothing. Pure.

`node.metrics` shows them to Prometheus. Any module may import this.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import accumulate
from typing import TypeVar

from broadcaster.core.wire import Ending, Shed, SinkKind

_T = TypeVar("_T")
_WRITE_LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LOOP_LAG_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)


class Histogram:
    """Counts values by size. To count one costs a search among a dozen bounds.

    Attributes:
        bounds: the greatest value of each bucket but the last, which has none.
        sum: of all values.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.sum = 0.0
        self._counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value that was seen so many times."""
        self._counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    def buckets(self) -> list[tuple[str, float]]:
        """How many values were at most each bound, as Prometheus wants it."""
        names = [*(f"{bound:g}" for bound in self.bounds), "+Inf"]
        return list(zip(names, accumulate(self._counts), strict=True))


def from_zero(*values: _T) -> Counter[_T]:
    """A counter that has these values from the start.

    `increase()` sees a counter that appears with a value as one that has not grown: the first
    thing of its kind, such as all resets after a rollback, would alert nobody.
    """
    return Counter(dict.fromkeys(values, 0))


class Meters:
    """What a node counts besides what its hub and its tailers do.

    Attributes:
        opened: event streams, by the kind of their sink.
        closed: event streams, by the reason of their end.
        shed: newcomers who were told to come back later, by the reason.
        write_latency_s: from the milliseconds of an id until the event was written to all who want
            it, for each stream; for events that came while the node was following.
        loop_lag_s: how late the event loop was for a timer.
    """

    def __init__(self) -> None:
        self.opened = from_zero(*SinkKind)
        self.closed = from_zero(*Ending)
        self.shed = from_zero(*Shed)
        self.write_latency_s: defaultdict[str, Histogram] = defaultdict(
            lambda: Histogram(_WRITE_LATENCY_S)
        )
        self.loop_lag_s = Histogram(_LOOP_LAG_S)
