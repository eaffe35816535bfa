"""The page at `/`, in real browsers, over a real node and a real Valkey.

The page counts and checks by itself what it gets (`window.hub`); here are the events, the accidents
and the expectations.
"""

from __future__ import annotations

import itertools
import json
import shlex
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from broadcaster import Publisher, connect_sync
from broadcaster.backend.embedded import free_port
from broadcaster.backend.memory import MemoryLog
from broadcaster.core.access import Action, Caller, Grant
from broadcaster.core.catalogue import PET_STORE
from tests.clients.browsers import Browser, Tab
from tests.clients.browsers.blank import answering
from tests.command_line import finished, starting
from tests.e2e import browser_node
from tests.nodes import running
from tests.wait import PATIENCE_S, until, until_sync

# As a proxy without a node answers.
_BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Node:
    """A node's process on a port that stays its own.

    Attributes:
        port: that port.
        prefix: of all paths.
    """

    def __init__(self, redis_url: str, log: Path, prefix: str = "") -> None:
        self.prefix = prefix
        self._redis_url = redis_url
        self._log = log
        self.port = free_port()
        self._process: BaseProcess | None = None

    @property
    def url(self) -> str:
        """The page's URL, without the slash at its end."""
        return f"http://127.0.0.1:{self.port}{self.prefix}"

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        self._process = browser_node.start(self._redis_url, self.port, self.prefix, self._log)
        until_sync(self._is_ready)

    def kill(self) -> None:
        """End it without a goodbye."""
        self._end(kill=True)

    def stop(self) -> None:
        """Ask it to end; it says goodbye to its clients."""
        self._end(kill=False)

    def _end(self, *, kill: bool) -> None:
        process, self._process = self._process, None
        if process is not None:
            (process.kill if kill else process.terminate)()
            process.join(PATIENCE_S)
            assert process.exitcode is not None

    def requests(self, path: str) -> int:
        """Return how often it was asked for a path."""
        return self._log.read_text("utf-8").splitlines().count(self.prefix + path)

    def newest(self) -> str:
        """The newest id of the inventory that it has read."""
        return str(json.loads(self._get("/v1/channels/inventory"))["newest"])

    def _is_ready(self) -> bool:
        try:
            return bool(self._get("/readyz"))
        except (urllib.error.URLError, OSError):
            return False

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=PATIENCE_S) as response:
            body: bytes = response.read()
            return body


class Watched:
    """The page in a browser."""

    def __init__(self, tab: Tab) -> None:
        self.tab = tab

    async def open(self, url: str) -> None:
        """Open the page, and wait until both of its streams are live."""
        await self.tab.open(url)
        for stream in ("inventory", "orders"):
            await self.sees(f"hub.{stream}.state === 'open' && hub.{stream}.replayed !== null")

    async def sees(self, condition: str) -> None:
        """Wait until a JavaScript expression is true in the page."""
        await self.tab.sees(condition, otherwise="hub")

    async def hub(self, stream: str) -> dict[str, Any]:
        """The page's counts for a stream."""
        counted: dict[str, Any] = await self.tab.value(f"hub.{stream}")
        return counted


@pytest.fixture
def node(redis_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Node]:
    """A node that is ready; its prefix can be given as a parameter. It outlives `page`."""
    made = Node(redis_url, tmp_path / "requests", getattr(request, "param", ""))
    made.start()
    yield made
    made.kill()


@pytest.fixture
async def page(browser: Browser) -> AsyncIterator[Watched]:
    """A tab. At the end, the browser must have reported no error but lost connections."""
    yield Watched(await browser.tab())
    assert await browser.faults() == []


class Shop:
    """Publishes changes of two pets that follow from one another."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._stock = {"cat": 10_000, "dog": 20_000}
        self._price = {"cat": 99.5, "dog": 250.0}
        self._pets = itertools.cycle(self._stock)
        self.published = 0
        self.newest = ""

    async def sell(self, count: int) -> None:
        """Publish `count` changes, every fifth of them a price."""
        ids = await self._publisher.publish_many([self._change() for _ in range(count)])
        self.newest = str(ids[-1])

    def _change(self) -> tuple[str, str, str, dict[str, object]]:
        pet = next(self._pets)
        self.published += 1
        if self.published % 5 == 0:
            old = self._price[pet]
            self._price[pet] += 0.25
            data = {"petId": pet, "oldPrice": old, "newPrice": self._price[pet]}
            return "inventory", "price-change", pet, data
        self._stock[pet] -= 1
        stock = self._stock[pet]
        return (
            "inventory",
            "stock-change",
            pet,
            {"petId": pet, "oldStock": stock + 1, "newStock": stock},
        )


@pytest.fixture
def shop(publisher: Publisher) -> Shop:
    return Shop(publisher)


async def order_step(publisher: Publisher, order: str, status: str, **more: str) -> None:
    """Publish a step of an order; shipped and cancelled are the last ones."""
    last = status in ("shipped", "cancelled")
    data = {"orderId": order, "status": status, **more}
    await publisher.publish("orders", type="complete" if last else "", key=order, data=data)


async def test_it_shows_changes_and_checks_that_each_follows_from_the_one_before(
    node: Node, page: Watched, shop: Shop
) -> None:
    await shop.sell(20)
    await until(lambda: node.newest() == shop.newest)
    await page.open(node.url)
    await shop.sell(480)
    await page.sees("hub.inventory.events === 500")
    inventory = await page.hub("inventory")
    # The first stock and the first price of each of the two pets follow from nothing.
    assert inventory == {**inventory, "checked": 496, "broken": 0, "disorder": 0, "resets": 0}
    assert inventory == {**inventory, "replayed": 20, "reconnects": 0}
    await page.sees("document.getElementById('checked').textContent === '496'")
    assert await page.tab.text("#inventory [data-is=lastId]") == inventory["lastId"]
    assert "9,800" in await page.tab.text("#pets tr:first-child")


async def test_it_flags_a_change_that_does_not_follow(
    node: Node, page: Watched, shop: Shop, publisher: Publisher
) -> None:
    await shop.sell(10)
    await page.open(node.url)
    wrong = {"petId": "cat", "oldStock": 1, "newStock": 0}
    await publisher.publish("inventory", type="stock-change", key="cat", data=wrong)
    await page.sees("hub.inventory.broken === 1")
    await page.sees("document.getElementById('broken').textContent === '1'")
    assert "Pet cat: oldStock is 1" in await page.tab.text("#breaks")
    assert await page.tab.count("#pets tr.broken") == 1


async def test_a_dropped_connection_misses_nothing(node: Node, page: Watched, shop: Shop) -> None:
    await shop.sell(10)
    await page.open(node.url)
    await page.tab.click("#inventory .drop")
    await page.sees("hub.inventory.state === 'closed'")
    await shop.sell(50)
    await page.sees("hub.inventory.reconnects === 1 && hub.inventory.replayed === 50")
    await shop.sell(10)
    await page.sees(f"hub.inventory.events === {shop.published}")
    inventory = await page.hub("inventory")
    assert inventory == {**inventory, "broken": 0, "disorder": 0, "resets": 0}
    assert "50 events replayed" in await page.tab.text("#inventory .note")


@pytest.mark.parametrize("goodbye", [False, True], ids=["killed", "stopped"])
async def test_a_node_that_goes_and_comes_back_loses_nothing(
    node: Node, page: Watched, shop: Shop, goodbye: bool
) -> None:
    await shop.sell(10)
    await page.open(node.url)
    node.stop() if goodbye else node.kill()
    await page.sees("hub.inventory.state === 'connecting'")
    await shop.sell(50)
    node.start()
    await shop.sell(10)
    await page.sees(f"hub.inventory.events >= {shop.published} && hub.orders.reconnects > 0")
    inventory = await page.hub("inventory")
    assert inventory == {**inventory, "events": shop.published, "broken": 0, "disorder": 0}
    assert inventory["resets"] == 0 < inventory["reconnects"]


async def test_it_goes_on_after_the_browser_has_given_up(
    node: Node, page: Watched, shop: Shop
) -> None:
    await shop.sell(10)
    await page.open(node.url)
    node.kill()
    async with answering(_BAD_GATEWAY, node.port):
        await page.sees("hub.inventory.state === 'closed' && hub.orders.state === 'closed'")
        await shop.sell(50)
    node.start()
    await shop.sell(10)
    await page.sees(f"hub.inventory.events >= {shop.published} && hub.orders.state === 'open'")
    inventory = await page.hub("inventory")
    assert inventory == {**inventory, "events": shop.published, "broken": 0, "disorder": 0}
    assert inventory["resets"] == 0 < inventory["reconnects"]


async def test_after_a_reset_nothing_is_expected_of_the_chain(
    node: Node, page: Watched, shop: Shop, publisher: Publisher, client: Any
) -> None:
    await shop.sell(10)
    await page.open(node.url)
    await client.delete("inventory")
    await Shop(publisher).sell(8)  # begins where the first one began
    await page.sees("hub.inventory.resets === 1 && hub.inventory.events === 18")
    assert (await page.hub("inventory"))["broken"] == 0
    assert "Reset at" in await page.tab.text("#inventory [data-is=reset]")


async def test_orders_are_listed_and_one_is_followed_until_it_is_over(
    node: Node, page: Watched, shop: Shop, publisher: Publisher
) -> None:
    await order_step(publisher, "o1", "payment_processing", timestamp="2026-01-31T12:00:00Z")
    await page.open(node.url)
    await order_step(publisher, "o2", "payment_processing", timestamp="2026-01-31T12:00:01Z")
    await page.sees("hub.orders.listed === 2")
    await page.tab.click("#newest tr:last-child button")
    await page.sees("hub.order.state === 'open' && hub.order.replayed === 1")
    old = {"orderId": "o1", "status": "payment_confirmed"}  # as workers of older versions do
    await publisher.publish("orders", type="status", key="o1", data=old)
    await order_step(publisher, "o1", "shipped", trackingNumber="PS1")
    await page.sees("hub.order.state === 'finished'")
    assert (await page.hub("order"))["steps"] == [
        "payment_processing",
        "payment_confirmed",
        "shipped",
    ]
    await page.sees("document.getElementById('steps').innerText.includes('PS1')")
    await page.sees("document.querySelector('#order .state').textContent === 'finished'")
    assert node.requests("/v1/orders/o1/status/stream") == 2  # the second was answered with 204
    # It stays closed, whatever else happens.
    await order_step(publisher, "o1", "payment_processing", timestamp="2026-01-31T12:00:03Z")
    await shop.sell(5)
    await page.sees("hub.inventory.events === 5 && hub.orders.events === 5")
    assert (await page.hub("order"))["events"] == 3
    assert node.requests("/v1/orders/o1/status/stream") == 2


async def test_recommendations_come_piece_by_piece_also_over_a_drop(
    node: Node, page: Watched, publisher: Publisher, client: Any
) -> None:
    await page.open(node.url)
    await page.tab.fill("#user-id", "ada")
    await page.tab.click("#ask button")
    await page.sees("hub.recommendations.state === 'open'")
    requests = "recommendations.requests"
    assert await until(lambda: client.xlen(requests)) == 1
    ((run, _),) = await client.xrange(requests)
    run = run.decode() if isinstance(run, bytes) else run

    async def publish(type_: str, data: dict[str, object]) -> None:
        await publisher.publish("recommendations", type=type_, key=f"ada#{run}", data=data)

    piece = {"petId": "cat", "name": "Tom", "score": 0.9, "reason": "you like cats"}
    await publish("recommendation", piece)
    await page.sees("hub.recommendations.pieces === 1")
    await page.tab.click("#recommendations .drop")
    await page.sees("hub.recommendations.state === 'closed'")
    await publish("recommendation", {**piece, "name": "Tim"})
    await page.sees("hub.recommendations.pieces === 2")
    await publish("complete", {"total": 2, "processingTime": 12})
    await page.sees("hub.recommendations.state === 'finished'")
    await page.sees("document.getElementById('pieces').innerText.includes('12 ms')")
    # The drop asked for no second answer. The request itself is struck out after a while.
    assert (await client.xinfo_stream(requests))["entries-added"] == 1


async def test_event_data_is_shown_as_text_and_never_as_markup(
    node: Node, page: Watched, publisher: Publisher
) -> None:
    await page.open(node.url)
    markup = "<img src=x onerror=hub.broken()>"
    change = {"petId": markup, "oldStock": markup, "newStock": 1}
    for data in (change, change, "no JSON", "null", "[]", '{"petId":{"a":1}}'):
        await publisher.publish("inventory", type="stock-change", key="k", data=data)
    await order_step(publisher, markup, markup, timestamp=markup)
    await page.sees("hub.inventory.events === 6 && hub.orders.listed === 1")
    await page.sees("document.getElementById('breaks').textContent.includes('<img')")
    assert await page.tab.count("img") == 0
    await page.tab.click("#newest button")
    await page.sees("hub.order.steps.length === 1")
    assert await page.tab.count("img") == 0


@pytest.mark.parametrize("node", ["/shop/live"], indirect=True)
@pytest.mark.parametrize("slash", ["", "/"], ids=["without-slash", "with-slash"])
async def test_it_works_under_a_prefix(node: Node, page: Watched, shop: Shop, slash: str) -> None:
    await page.open(node.url + slash)
    await shop.sell(10)
    await page.sees("hub.inventory.events === 10")
    links = await page.tab.value("[...document.querySelectorAll('footer a')].map((a) => a.href)")
    assert links == [f"{node.url}/v1/channels", f"{node.url}/readyz"]


async def test_a_paused_page_still_counts(node: Node, page: Watched, shop: Shop) -> None:
    await shop.sell(10)
    await page.open(node.url)
    await page.sees("document.getElementById('checked').textContent === '6'")
    await page.tab.click("#pause")
    before = await page.tab.text("#pets")
    await shop.sell(50)
    await page.sees("document.getElementById('checked').textContent === '56'")
    assert await page.tab.text("#pets") == before
    await page.tab.click("#pause")
    await page.sees("document.querySelector('#pets td:last-child').textContent === '30'")


async def test_a_hidden_tab_gives_its_connections_back_and_misses_nothing(
    node: Node, page: Watched, shop: Shop
) -> None:
    await page.open(node.url)
    await shop.sell(10)
    await page.sees("hub.inventory.events === 10")
    await page.tab.run(_HURRY)
    await _hide(page, hidden=True)
    await page.sees("hub.inventory.state === 'resting' && hub.orders.state === 'resting'")
    await shop.sell(50)
    await _hide(page, hidden=False)
    await page.sees("hub.inventory.events === 60 && hub.orders.state === 'open'")
    inventory = await page.hub("inventory")
    assert inventory == {**inventory, "events": 60, "broken": 0, "disorder": 0, "resets": 0}


# Timers of the page that are set from now on wait 50 ms at most.
_HURRY = """() => {
  const set = window.setTimeout;
  window.setTimeout = (call, wait_ms) => set(call, Math.min(wait_ms, 50));
}"""


async def _hide(page: Watched, *, hidden: bool) -> None:
    # A browser without a screen hides nothing by itself.
    await page.tab.run(
        """(hidden) => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


async def test_it_shows_an_event_of_ones_own(
    node: Node, page: Watched, publisher: Publisher
) -> None:
    await page.open(node.url)
    id_ = await publisher.publish("inventory", data="hello")
    await page.sees("!document.getElementById('others').hidden")
    assert await page.tab.text("#others") == f"An event of your own, {id_}: hello"
    # Without the demo, the page does not know where Redis is. It must not guess the usual port.
    assert "redis-cli -u YOUR_REDIS_URL XADD inventory" in await page.tab.text("#curl")


async def test_the_commands_that_the_demo_and_its_page_offer_work_as_shown(page: Watched) -> None:
    async with starting() as start:
        demo = await start("demo", "--port", "0")
        url = (await demo.line("The page")).split()[2]
        await page.open(url)
        offered = shlex.split((await demo.line("An event of your own")).partition("own")[2])
        status, _, said = await finished(await start(*offered[1:]))
        assert (status, said) == (0, "")
        await page.sees("document.getElementById('others').textContent.endsWith(': hello')")
        shown = (await page.tab.text("#curl")).splitlines()[-1]
        program, option, redis_url, *command = shlex.split(shown)
        assert (program, option) == ("redis-cli", "-u")
        with connect_sync(redis_url) as redis:
            for _ in range(2):
                redis.execute_command(*command)
        await page.sees("hub.inventory.broken === 1")
        assert await demo.stop() == 0


async def test_the_page_says_if_a_hub_gives_out_orders_by_their_key_only(browser: Browser) -> None:
    async with running("", log=MemoryLog(), channels=PET_STORE) as hub:
        tab = await browser.tab()
        await tab.open(f"{hub.url}/")
        await tab.sees("window.hub && hub.inventory.state === 'open'")
        await tab.sees("document.body.innerText.includes('orders by their key only')")
        assert await tab.value("hub.orders.state") == "idle"


async def test_the_page_says_that_the_right_to_read_has_ended(browser: Browser) -> None:
    ends: dict[str, float] = {}

    def policy(_: Caller, action: Action, channel: str, __: frozenset[str], /) -> Grant:
        if channel != "inventory" or action is not Action.SUBSCRIBE:
            return Grant()
        return Grant("ann", expires_s=ends.setdefault(channel, time.time() + 1.0))

    async with running("", log=MemoryLog(), authorize=policy) as hub:
        tab = await browser.tab()
        await tab.open(f"{hub.url}/")
        await tab.sees("document.body.innerText.includes('The right to read this ended')")
        assert await tab.value("hub.inventory.state") == "closed"
        assert hub.node.meters.closed["expired"] == 1
