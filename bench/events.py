"""Events that can be counted and timed without parsing: a mark, and the time of sending.

The mark is one byte that occurs nowhere else on the wire, so that counting it needs no knowledge of
where a read has cut the bytes. The time is CLOCK_MONOTONIC, which all processes of a machine share.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

CHANNEL = "inventory"
PATH = "/v1/inventory/stream"
TYPE = "stock-change"

MARK = b"~"
STAMP_END = 20  # bytes: the mark and 19 digits of nanoseconds
LEAST_BYTES = 48

TICK_S = 0.01


def stamped(size: int) -> bytes:
    """The data of an event that is sent now: JSON of `size` bytes, at least `LEAST_BYTES`."""
    head = b'{"sent":"~%019d","fill":"' % time.monotonic_ns()
    return head + b"x" * (size - len(head) - 2) + b'"}'


def paced(rate: float, seconds: float) -> Iterator[int]:
    """Sleep, and yield how many events are due, again and again.

    Args:
        rate: events per second; up to 1 / `TICK_S` they are due one by one, above in batches.
        seconds: how long.

    Yields:
        How many to send now; in total `rate * seconds`.
    """
    total, sent, start_s = max(1, round(rate * seconds)), 0, time.monotonic()
    while sent < total:
        due = min(total, int((time.monotonic() - start_s) * rate) + 1) - sent
        if due > 0:
            sent += due
            yield due
        next_s = max(start_s + sent / rate, time.monotonic() + min(TICK_S, 1 / rate))
        time.sleep(max(0.0, next_s - time.monotonic()))
