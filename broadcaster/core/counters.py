"""Counters and histograms in memory, as plain numbers, which cost next to nothing. Pure.

`node.metrics` renders them for Prometheus. Any module may import this one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import accumulate
from typing import TypeVar

from broadcaster.core.wire import Ending, Exceeded, Refusal, Shed, SinkKind

_T = TypeVar("_T")
_WRITE_LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LOOP_LAG_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)


class Histogram:
    """Counts values by size. Counting a value costs a search among a dozen bounds.

    Attributes:
        bounds: the greatest value of each bucket, in rising order. The last bucket has no bound.
        sum: the sum of all values.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.sum = 0.0
        self._counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value.

        Args:
            value: in the unit of the bounds.
            times: how often it was seen.
        """
        self._counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    def buckets(self) -> list[tuple[str, float]]:
        """Return each bound as text, with the number of values that were not above it.

        The last bound is `+Inf`, as Prometheus wants it.
        """
        names = [*(f"{bound:g}" for bound in self.bounds), "+Inf"]
        return list(zip(names, accumulate(self._counts), strict=True))


def from_zero(*values: _T) -> Counter[_T]:
    """Return a counter that has these values from the start, with a count of 0 each.

    Prometheus's `increase()` finds no growth in a counter that first appears with a value above 0.
    Without the zeros, the first resets after a rollback would raise no alert.
    """
    return Counter(dict.fromkeys(values, 0))


class Meters:
    """The counters of a node that belong neither to its hub nor to its tailers.

    Attributes:
        opened: event streams, by the kind of their sink.
        closed: event streams, by the reason of their end.
        shed: clients that were sent away for now, by the reason.
        refused: connections that were closed without the application's answer, by the reason.
        pages: answers with a page of the log, with `events` or `empty`, or with a `state`.
        exceeded: requests that were refused because they exceed a limit, by the limit.
        waiting: open connections without a request that is being answered.
        write_latency_s: for each stream, the time from the milliseconds of an event's id until the
            event was written to all live subscribers that want it. Only events that arrived while
            the tailer was at the head of the stream are measured.
        loop_lag_s: how late the event loop ran a timer.
    """

    def __init__(self) -> None:
        self.opened = from_zero(*SinkKind)
        self.closed = from_zero(*Ending)
        self.shed = from_zero(*Shed)
        self.refused = from_zero(*Refusal)
        self.exceeded = from_zero(*Exceeded)
        self.pages = from_zero("events", "empty", "state")
        self.waiting = 0
        self.write_latency_s: defaultdict[str, Histogram] = defaultdict(
            lambda: Histogram(_WRITE_LATENCY_S)
        )
        self.loop_lag_s = Histogram(_LOOP_LAG_S)
