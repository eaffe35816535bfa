"""Waits for the moments at which repeated works are due: see `core.ticks`."""

from __future__ import annotations

import asyncio

from broadcaster.core.ticks import until_tick


async def tick(period_s: float) -> None:
    """Wait until the event loop's clock shows a whole multiple of a period."""
    await asyncio.sleep(until_tick(period_s, asyncio.get_running_loop().time()))
