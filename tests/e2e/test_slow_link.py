"""A tab of the demo behind a slow link: it stays at the newest values, and misses nothing.

Chromium's network emulation reads the response of an event stream at the rate that it is given.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from typing import Any

import pytest

from broadcaster import Publisher
from broadcaster.commands.demo_access import CHANNELS
from tests.clients.browsers import Browser
from tests.nodes import Running, running
from tests.wait import allowed_s, until
from workers.store import PETS

_LINK_BYTES_S = 100_000
_PAD = "x" * 1000
_BATCH = 10  # of changes of each pet
_PASSES = 3
_STOCKS = """[...document.querySelectorAll(".pet")].map((pet) =>
  Number(pet.querySelector("dd").textContent.replaceAll(",", "")) || 0)"""


class Store:
    """Changes the stock of all pets, far faster than the link can tell."""

    def __init__(self, hub: Running, publisher: Publisher) -> None:
        self.stock = 1
        self.published = 0
        self._window = hub.node.hub.windows["inventory"]
        self._publisher = publisher
        self._at_s: list[float] = []  # of each stock after the first

    async def change(self) -> None:
        """Publish changes, each of which follows from the one before, until the node has them."""
        events = list[tuple[str, str, str, dict[str, Any]]]()
        for _ in range(_BATCH):
            self.stock += 1
            self._at_s.append(time.monotonic())
            change = {"oldStock": self.stock - 1, "newStock": self.stock, "pad": _PAD}
            events += [("inventory", "stock-change", p.id, {"petId": p.id} | change) for p in PETS]
        ids = await self._publisher.publish_many(events)
        await until(lambda: self._window.head == ids[-1])
        self.published += len(events)

    def age_s(self, stock: int) -> float:
        """Return for how long a stock is out of date."""
        newer = bisect_right(range(2, self.stock + 1), stock)
        return time.monotonic() - self._at_s[newer] if newer < len(self._at_s) else 0.0


@pytest.mark.parametrize("browser", ["chromium"], indirect=True)
async def test_a_tab_stays_at_the_newest_values_and_counts_none_as_lost(
    browser: Browser, redis_url: str
) -> None:
    async with (
        running(redis_url, channels=CHANNELS) as hub,
        Publisher(redis_url, channels=CHANNELS) as publisher,
    ):
        store, tab = Store(hub, publisher), await browser.tab()
        await tab.slow_down(_LINK_BYTES_S)
        await tab.open(hub.url)
        await tab.sees("window.hub?.line.state === 'live'")
        told = passes = 0
        stalest_s = 0.0
        while passes < _PASSES:
            await store.change()
            superseded = await tab.value("hub.line.superseded")
            passes, told = passes + (superseded > told), superseded
            stalest_s = max(stalest_s, *map(store.age_s, await tab.value(_STOCKS)))
        await tab.sees(f"{_STOCKS}.every((stock) => stock === {store.stock})")
        await tab.sees("hub.line.state === 'live'")
        line, shop = await tab.value("hub.line"), await tab.value("hub.shop")
        assert line["events"] + line["superseded"] == store.published
        assert (shop["missing"], line["disorder"], line["resets"]) == (0, 0, 0)
        assert shop["checked"] > 0
        text = await tab.text("#proof")
        assert f"superseded\n{line['superseded']:,}" in text
        assert stalest_s < allowed_s(30)
        assert await browser.faults() == []
