"""The pet store speaks the API that it is modelled on: plain clients in three browsers."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from broadcaster import Publisher
from tests.clients.browsers import Browser, Tab
from tests.nodes import Raw, Running, running
from tests.wait import PATIENCE_S, until
from workers.inventory import Inventory
from workers.orders import STATUSES, Orders
from workers.recommendations import PIECES, Recommendations
from workers.runner import Life

ORDER = "/v1/orders/{}/status/stream"
RECOMMENDATIONS = "/v1/pets/recommendations/stream?userId=ann"
INVENTORY = "/v1/inventory/stream"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_REACT = Path(__file__).with_name("react")
# As in any tutorial: `complete` is the only event that it knows by name.
_PLAIN = """(url) => {
  window.shown = [];
  window.completed = [];
  const es = window.es = new EventSource(url);
  const show = (data) => shown.push(data);
  es.onmessage = (e) => show(JSON.parse(e.data));
  es.addEventListener("complete", (e) => { completed.push(JSON.parse(e.data)); es.close(); });
}"""
_NAMED = """(url) => {
  window.shown = [];
  window.completed = [];
  const es = window.es = new EventSource(url);
  es.onmessage = () => shown.push("an event without a name");
  for (const type of ["recommendation", "stock-change", "price-change"])
    es.addEventListener(type, (e) => shown.push([type, JSON.parse(e.data)]));
  es.addEventListener("complete", (e) => { completed.push(JSON.parse(e.data)); es.close(); });
}"""
_HOOK = """(url) => {
  const Native = EventSource;
  window.sources = [];
  window.EventSource = class extends Native {
    constructor(url) { super(url); sources.push(this); }
  };
  const { createElement, useEffect, useState } = React;
  function useEvents(url) {
    const [events, setEvents] = useState([]);
    const [done, setDone] = useState(false);
    useEffect(() => {
      const es = new EventSource(url);
      es.onmessage = (e) => setEvents((before) => [...before, JSON.parse(e.data)]);
      es.addEventListener("complete", () => { es.close(); setDone(true); });
      return () => es.close();
    }, [url]);
    return { events, done };
  }
  function Order() {
    const { events, done } = useEvents(url);
    window.shown = events;
    return createElement("p", {}, events.map((e) => e.status).join(), done ? " done" : " …");
  }
  const place = document.body.appendChild(document.createElement("div"));
  window.root = ReactDOM.createRoot(place);
  root.render(createElement(Order));
}"""


@pytest.fixture
async def hub(redis_url: str) -> AsyncIterator[Running]:
    async with running(redis_url, cors_origins=("*",)) as made:
        yield made


@pytest.fixture(params=["one origin", "two origins"])
async def page(request: pytest.FixtureRequest, hub: Running, blank: Tab) -> Tab:
    """A page of the hub's own origin, and one of another."""
    if request.param == "one origin":
        await blank.open(f"{hub.url}/metrics")
    return blank


@pytest.fixture(scope="session")
def react(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The sources of React, which npm fetches and checks."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    place = tmp_path_factory.mktemp("react")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(_REACT / name, place)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run(command, cwd=place, check=True, capture_output=True, timeout=PATIENCE_S * 3)
    files = ("react/umd/react.production.min.js", "react-dom/umd/react-dom.production.min.js")
    return [(place / "node_modules" / file).read_text("utf-8") for file in files]


class Walk:
    """Orders of the real worker, taken step by step."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._orders = Orders(publisher, seed=4)

    async def placed(self) -> str:
        """Place an order; return its id."""
        await self._orders.step()
        keys: Any = await self._publisher.redis.hkeys("{orders}:open")
        (order,) = keys
        return str(order.decode())

    async def finish(self, order: str) -> None:
        """Move orders on until this one is over."""
        while await self._publisher.redis.hexists("{orders}:open", order):
            await self._orders.step()


@asynccontextmanager
async def recommending(publisher: Publisher) -> AsyncIterator[None]:
    life = Life(rate=100)
    task = asyncio.create_task(Recommendations(publisher).run(life))
    yield
    life.stop()
    await task


async def faults(browser: Browser) -> list[str]:
    """What the browser complains about, but for the icon that it looks for: there is none here."""
    return [text for text in await browser.faults() if "404 (Not Found)" not in text]


def check_steps(shown: list[dict[str, Any]], order: str) -> None:
    assert [step["status"] for step in shown] == list(STATUSES)
    for step in shown:
        assert list(step) == ["status", "timestamp", "orderId"]
        assert _TIME.fullmatch(step["timestamp"])
        assert step["orderId"] == order


async def test_an_order_on_the_wire(hub: Running, publisher: Publisher) -> None:
    walk = Walk(publisher)
    order = await walk.placed()
    await walk.finish(order)
    entries = await publisher.redis.xlen("orders")
    await until(lambda: len(hub.node.hub.windows["orders"]) == entries)
    stream = await Raw.get(hub.port, ORDER.format(order))
    blocks = (await stream.rest()).decode().strip().split("\n\n")
    fields = [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]
    *steps, end = [block for block in fields if not block.get("event", "").startswith("stream.")]
    assert [set(step) - {"retry"} for step in steps] == [{"id", "data"}] * 3
    check_steps([json.loads(step["data"]) for step in steps], order)
    assert steps[0]["data"].startswith('{"status":"payment_processing","timestamp":"')
    assert end["event"] == "complete"
    assert re.fullmatch(
        r'\{"status":"shipped","trackingNumber":"\w+","orderId":"\w+"\}', end["data"]
    )


async def test_an_order_is_followed_by_onmessage_to_its_end(
    hub: Running, page: Tab, browser: Browser, publisher: Publisher
) -> None:
    walk = Walk(publisher)
    order = await walk.placed()
    await page.run(_PLAIN, hub.url + ORDER.format(order))
    await page.sees("shown.length === 1")
    await walk.finish(order)
    await page.sees("completed.length === 1")
    check_steps(await page.value("shown"), order)
    (end,) = await page.value("completed")
    assert list(end) == ["status", "trackingNumber", "orderId"]
    assert end["status"] == "shipped"
    assert await page.value("es.readyState") == 2
    assert await faults(browser) == []


async def test_an_order_that_is_not_known_yet_is_followed(
    hub: Running, page: Tab, publisher: Publisher
) -> None:
    await page.run(_PLAIN, hub.url + ORDER.format("later"))
    await until(lambda: hub.node.hub.live == 1)
    await publisher.publish("orders", key="later", data={"status": "payment_processing"})
    await page.sees("shown.length === 1")
    assert await page.value("shown") == [{"status": "payment_processing"}]


async def test_a_react_hook_follows_an_order(
    hub: Running, page: Tab, browser: Browser, publisher: Publisher, react: list[str]
) -> None:
    for source in react:
        await page.run(f"() => {{ {source} }}")
    walk = Walk(publisher)
    order = await walk.placed()
    await page.run(_HOOK, hub.url + ORDER.format(order))
    await page.sees("document.querySelector('div p')?.textContent === 'payment_processing …'")
    await walk.finish(order)
    await page.sees("document.querySelector('div p').textContent.endsWith(' done')")
    check_steps(await page.value("shown"), order)
    assert await page.value("sources.map((es) => es.readyState)") == [2]
    assert await faults(browser) == []


async def test_a_react_hook_closes_when_it_is_unmounted(
    hub: Running, page: Tab, publisher: Publisher, react: list[str]
) -> None:
    for source in react:
        await page.run(f"() => {{ {source} }}")
    await page.run(_HOOK, hub.url + ORDER.format("7"))
    await until(lambda: hub.node.hub.live == 1)
    await page.run("() => root.unmount()")
    await until(lambda: not hub.node.hub.subscribers)
    assert await page.value("sources.map((es) => es.readyState)") == [2]


async def test_recommendations_and_inventory_have_names(
    hub: Running, page: Tab, publisher: Publisher
) -> None:
    async with recommending(publisher):
        await page.run(_NAMED, hub.url + RECOMMENDATIONS)
        await page.sees("completed.length === 1")
    shown = await page.value("shown")
    assert [type_ for type_, _ in shown] == ["recommendation"] * PIECES
    assert {tuple(data) for _, data in shown} == {("petId", "name", "score", "reason")}
    (end,) = await page.value("completed")
    assert list(end) == ["total", "processingTime"]
    await page.run(_NAMED, hub.url + INVENTORY)
    await until(lambda: hub.node.hub.live == 1)
    inventory = Inventory(publisher, seed=1)
    for _ in range(20):
        await inventory.step()
    await page.sees("shown.length === 20")
    assert {(type_, *data) for type_, data in await page.value("shown")} == {
        ("stock-change", "petId", "oldStock", "newStock"),
        ("price-change", "petId", "oldPrice", "newPrice"),
    }


async def test_without_names_onmessage_shows_recommendations_and_inventory_too(
    hub: Running, page: Tab, publisher: Publisher
) -> None:
    async with recommending(publisher):
        await page.run(_PLAIN, f"{hub.url}{RECOMMENDATIONS}&names=off")
        await page.sees("completed.length === 1")
    assert [list(data) for data in await page.value("shown")] == [
        ["petId", "name", "score", "reason"]
    ] * PIECES
    await page.run(_PLAIN, f"{hub.url}{INVENTORY}?names=off")
    await until(lambda: hub.node.hub.live == 1)
    inventory = Inventory(publisher, seed=1)
    for _ in range(5):
        await inventory.step()
    await page.sees("shown.length === 5")
    assert await page.value("shown[0].petId")
