"""Ends the event streams whose grants have ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from broadcaster.core.access.expiries import SWEEP_S, Expiries
from broadcaster.core.fanout.subscriber import Subscriber
from broadcaster.core.wire import Ending
from broadcaster.web.ticks import tick

_AT_ONCE = 100

End = Callable[[Sequence[Subscriber], Ending], None]
"""Ends responses."""


async def watch(expiries: Expiries[Subscriber], end: End) -> None:
    """End the responses of subscribers that have expired, at most 1 s late, until cancelled.

    Args:
        expiries: of the hub's subscribers.
        end: ends responses. It gets a few at a time, so that events of others are not delayed.
    """
    while True:
        await tick(SWEEP_S)
        if expiries:
            await sweep(expiries, end, time.time())


async def sweep(expiries: Expiries[Subscriber], end: End, now_s: float) -> None:
    """End the responses of subscribers that have expired by now."""
    due = expiries.due(now_s)
    for start in range(0, len(due), _AT_ONCE):
        end(due[start : start + _AT_ONCE], Ending.EXPIRED)
        await asyncio.sleep(0)
