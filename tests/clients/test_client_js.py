"""`/client.js` in three browsers, over real nodes: what it does for a page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from broadcaster import Publisher
from tests.clients.browsers import Browser, Tab
from tests.nodes import Running, running
from tests.wait import until

STOCK = "/v1/inventory/stream"
# A page writes down all that its handlers are told.
FOLLOW = """(client, url, options) => {
  window.got = []; window.own = []; window.statuses = [];
  import(client).then(({ subscribe }) => {
    const note = (name) => (data) => own.push([name, data ?? null]);
    window.stream = subscribe(url, {
      types: ["stock-change", "price-change"], retryMs: 20, ...options,
      onEvent: (event) => got.push([event.type, event.data, event.id]),
      onState: note("state"), onReset: note("reset"), onLive: note("live"),
      onSuperseded: note("superseded"), onComplete: note("complete"), onExpired: note("expired"),
      onError: (error) => own.push(["error", error.status, error.message]),
      onStatus: (status) => statuses.push(status),
    });
  });
}"""
LIVE = "window.stream?.status === 'live'"


@pytest.fixture
async def hub(redis_url: str) -> AsyncIterator[Running]:
    async with running(redis_url, cors_origins=("*",), heartbeat_s=0.5) as made:
        yield made


async def follow(tab: Tab, hub: Running, path: str, **options: Any) -> None:
    """Subscribe in a tab, and wait until the stream is live."""
    await tab.run(FOLLOW, f"{hub.url}/client.js", hub.url + path, options)
    await tab.sees(LIVE, "window.own")


async def changed(publisher: Publisher, *stocks: int) -> list[list[Any]]:
    """Publish changes of a stock; return what a page is to see of them."""
    events = [("inventory", "stock-change", "7", {"newStock": n}) for n in stocks]
    ids = await publisher.publish_many(events)
    return [["stock-change", data, str(id_)] for (*_, data), id_ in zip(events, ids, strict=True)]


async def test_a_page_gets_parsed_events_of_the_types_that_it_names(
    hub: Running, blank: Tab, browser: Browser, publisher: Publisher
) -> None:
    first = await changed(publisher, 1)
    await follow(blank, hub, STOCK + "?from=earliest")
    later = await changed(publisher, 2, 3)
    await publisher.publish("inventory", type="price-change", key="7", data="no JSON")
    await blank.sees("got.length === 4", "got")
    got = await blank.value("got")
    assert got[:3] == first + later
    assert got[3][:2] == ["price-change", "no JSON"]
    assert await blank.value("own") == [["live", {"replayed": 1}]]
    assert await blank.value("stream.lastEventId") == got[3][2]
    assert await blank.value("statuses") == ["live"]
    await blank.run("() => stream.close()")
    await until(lambda: not hub.node.hub.subscribers)
    assert await browser.faults() == []


async def test_an_order_is_followed_until_it_is_complete(
    hub: Running, blank: Tab, publisher: Publisher
) -> None:
    await publisher.publish("orders", key="7", data={"status": "shipped"})
    await follow(blank, hub, "/v1/orders/7/status/stream")
    await publisher.publish("orders", type="complete", key="7", data={"status": "done"})
    await blank.sees("stream.status === 'complete'", "[statuses, own]")
    assert [event[:2] for event in await blank.value("got")] == [
        ["message", {"status": "shipped"}],
        ["complete", {"status": "done"}],
    ]
    assert (await blank.value("own"))[-1] == ["complete", None]
