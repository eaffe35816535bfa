"""The page at `/`, in real browsers, over a real node and a real Valkey.

The page counts and checks by itself what it gets (`window.hub`); here are the events, the accidents
and the expectations.
"""

from __future__ import annotations

import itertools
import json
import re
import shlex
import shutil
import subprocess
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
from broadcaster.commands.token import make as make_token
from broadcaster.core.access.policy import Action, Caller, Grant
from broadcaster.core.catalogue import PET_STORE
from tests.clients.browsers import Browser, Tab
from tests.clients.browsers.blank import answering
from tests.clients.switch import Switch
from tests.command_line import finished, starting
from tests.e2e import browser_node
from tests.e2e.test_folder import folded_up_to, folding
from tests.nodes import running
from tests.wait import PATIENCE_S, until, until_sync
from workers.store import PETS

# As a proxy without a node answers.
_LONGEST_PAUSE_S = 30.0  # between two tries of a page, where it is refused again and again
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

    def clients(self) -> int:
        """Return the number of its clients."""
        nodes = json.loads(self._get("/v1/nodes"))["nodes"]
        return sum(int(node["clients"]) for node in nodes.values())

    def newest(self, channel: str = "inventory") -> str:
        """The newest id of a channel that it has read."""
        return str(json.loads(self._get(f"/v1/channels/{channel}"))["newest"])

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
        """Open the page, and wait until its line is live."""
        await self.tab.open(url)
        await self.sees("window.hub?.line.state === 'live'")

    async def sees(self, condition: str, timeout_s: float = PATIENCE_S) -> None:
        """Wait until a JavaScript expression is true in the page."""
        await self.tab.sees(condition, "window.hub && {...hub}", timeout_s)

    async def hub(self, part: str) -> dict[str, Any]:
        """The counts of a part of the page."""
        counted: dict[str, Any] = await self.tab.value(f"hub.{part}")
        return counted

    async def proves(self, events: int, checked: int | None = None) -> None:
        """Wait for this number of events, and see that none is missing or out of order."""
        await self.sees(f"hub.shop.events === {events}")
        shop = await self.hub("shop")
        assert shop == {
            **shop,
            "missing": 0,
            "checked": shop["checked"] if checked is None else checked,
        }
        assert (await self.hub("line"))["disorder"] == 0


# For what our own script does with the events that it has got. That each tab and form of the page
# works in each browser is the subject of others.
in_one_browser = pytest.mark.parametrize("browser", ["chromium"], indirect=True)


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

    async def sell_before(self, node: Node, count: int) -> None:
        """Publish changes, and wait until this node can send them before a page is live."""
        await self.sell(count)
        await until(lambda: node.newest() == self.newest)

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
    await shop.sell_before(node, 20)
    await page.open(node.url)
    await shop.sell(480)
    # Its state is the stock and the price of each of the two pets, which all changes follow from.
    await page.proves(480, checked=480)
    line = await page.hub("line")
    assert line == {**line, "replayed": 4, "events": 480, "reconnects": 0, "resets": 0}
    await page.sees("document.getElementById('events').textContent === '480'")
    assert await page.tab.text("#missing") == "0"
    await page.sees("document.getElementById('pets').innerText.includes('9,800')")
    # Pets of the catalogue have names. These two have none, so they have their ids.
    assert "Biscuit" in await page.tab.text("#pets")
    assert "cat" in await page.tab.text("#pets article:nth-child(13)")


@in_one_browser
async def test_every_pet_has_its_stock_and_price_after_the_stream_was_trimmed(
    node: Node, page: Watched, publisher: Publisher, redis_url: str, client: Any
) -> None:
    pets = [pet.id for pet in PETS]
    node.kill()
    async with folding(redis_url):
        for number, pet in enumerate(pets):
            stock = {"petId": pet, "oldStock": 1, "newStock": 500 + number}
            price = {"petId": pet, "oldPrice": 1, "newPrice": 300 + number}
            await publisher.publish("inventory", type="stock-change", key=pet, data=stock)
            await publisher.publish("inventory", type="price-change", key=pet, data=price)
        await until(lambda: folded_up_to(client, 24))
    await client.xtrim("inventory", 0, approximate=False)
    node.start()
    await page.open(node.url)
    await page.tab.finds(_VALUES, [[str(500 + n), f"{300 + n}.00"] for n in range(12)])
    assert await page.tab.text("#shop-note") == ""
    # They are no events, and what comes now must follow from them.
    change = {"petId": pets[0], "oldStock": 500, "newStock": 499}
    await publisher.publish("inventory", type="stock-change", key=pets[0], data=change)
    await page.proves(1, checked=1)


@in_one_browser
async def test_without_a_folder_the_page_says_what_may_be_missing(
    node: Node, page: Watched, publisher: Publisher, client: Any
) -> None:
    pets = [pet.id for pet in PETS]
    node.kill()
    for number, pet in enumerate(pets):
        stock = {"petId": pet, "oldStock": 1, "newStock": 500 + number}
        await publisher.publish("inventory", type="stock-change", key=pet, data=stock)
    await client.xtrim("inventory", 2, approximate=False)
    node.start()
    await page.open(node.url)
    nothing = "–"  # noqa: RUF001 as the page has it
    rows = [[nothing, nothing]] * 10 + [["510", nothing], ["511", nothing]]
    await page.tab.finds(_VALUES, rows)
    said = r"Changes up to \d\d:\d\d:\d\d may be missing: they were trimmed\."
    assert re.fullmatch(said, await page.tab.text("#shop-note"))


_VALUES = """[...document.querySelectorAll(".pet")].map((pet) =>
  [...pet.querySelectorAll("dd:not(.by)")].map((each) => each.textContent))"""


async def test_it_flags_a_change_that_does_not_follow(
    node: Node, page: Watched, shop: Shop, publisher: Publisher
) -> None:
    await shop.sell_before(node, 10)
    await page.open(node.url)
    wrong = {"petId": "cat", "oldStock": 1, "newStock": 0}
    await publisher.publish("inventory", type="stock-change", key="cat", data=wrong)
    await page.sees("hub.shop.missing === 1")
    await page.sees("document.getElementById('missing').textContent === '1'")
    assert "cat: oldStock is 1 but was 99" in await page.tab.text("#breaks")
    assert await page.tab.count(".pet.broken") == 1


# Timers of ten seconds that are set from now on wait for `window.release()`.
_HOLD = """() => {
  const set = window.setTimeout, held = [];
  window.setTimeout = (call, ms) => (ms === 10_000 ? held.push(call) : set(call, ms));
  window.release = () => held.splice(0).forEach((call) => call());
}"""


async def test_a_line_that_is_cut_is_filled_in_afterwards(
    node: Node, page: Watched, shop: Shop
) -> None:
    await shop.sell_before(node, 10)
    await page.open(node.url)
    await page.tab.run(_HOLD)
    await page.tab.click("#cut")
    await page.sees("hub.line.state === 'cut'")
    await shop.sell_before(node, 50)
    # What is old is dimmed, with its time, and with the time of the next try.
    await page.sees("document.documentElement.dataset.line === 'old'")
    note = await page.tab.text("#line")
    assert re.search(r"^cut by you back in \d+ s. What you see is of \d\d:\d\d:\d\d\.$", note)
    await page.tab.run("() => release()")
    await page.sees("hub.line.state === 'live' && hub.line.filled.events === 50")
    await shop.sell(10)
    await page.proves(60, checked=60)
    line = await page.hub("line")
    assert line == {**line, "reconnects": 1, "resets": 0}
    await page.sees("document.getElementById('line').innerText.includes('50 events of the ')")
    await page.sees("document.documentElement.dataset.line === 'live'")


@pytest.mark.parametrize("goodbye", [False, True], ids=["killed", "stopped"])
async def test_a_node_that_goes_and_comes_back_loses_nothing(
    node: Node, page: Watched, shop: Shop, goodbye: bool
) -> None:
    await shop.sell_before(node, 10)
    await page.open(node.url)
    node.stop() if goodbye else node.kill()
    await page.sees("hub.line.state === 'waiting' || hub.line.state === 'connecting'")
    await page.sees("document.documentElement.dataset.line === 'old'")
    await shop.sell(50)
    node.start()
    await shop.sell(10)
    await page.sees("hub.line.reconnects > 0")
    await page.proves(60, checked=60)
    assert (await page.hub("line"))["resets"] == 0


async def test_it_goes_on_after_a_proxy_without_a_node(
    node: Node, page: Watched, shop: Shop
) -> None:
    await shop.sell_before(node, 10)
    await page.open(node.url)
    node.kill()
    async with answering(_BAD_GATEWAY, node.port):
        note = "document.getElementById('line').innerText.replaceAll(/\\s+/g, ' ')"
        said = (
            "disconnected no node answers; tries again within seconds, by itself. What you see is"
        )
        await page.sees(f"{note}.includes('{said}')")
        await shop.sell(50)
    node.start()
    await shop.sell(10)
    await page.sees("hub.line.state === 'live'", PATIENCE_S + 2 * _LONGEST_PAUSE_S)
    await page.proves(60, checked=60)
    line = await page.hub("line")
    assert line["resets"] == 0 < line["reconnects"]


async def test_a_reset_speaks_in_words_and_nothing_is_expected_of_the_chain(
    node: Node, page: Watched, shop: Shop, publisher: Publisher, client: Any
) -> None:
    await shop.sell_before(node, 10)
    await page.open(node.url)
    await client.delete("inventory")
    await Shop(publisher).sell(8)  # begins where the first one began
    await page.sees("hub.line.resets === 1")
    # The state follows, if the events were there before: the values are those of now in any case.
    await page.sees("document.getElementById('pets').innerText.includes('9,997')")
    assert (await page.hub("shop"))["missing"] == 0
    said = "Reset: Redis has lost its newest changes. What you see is the state from now on."
    await page.sees(f"document.getElementById('reset').innerText.startsWith('{said}')")


async def test_orders_are_listed_and_one_is_followed_until_it_is_over(
    node: Node, page: Watched, publisher: Publisher, shop: Shop
) -> None:
    await order_step(publisher, "o1", "payment_processing", timestamp="2026-01-31T12:00:00Z")
    await until(lambda: node.newest("orders") != "0-0")
    await page.open(node.url)
    await order_step(publisher, "o2", "payment_processing", timestamp="2026-01-31T12:00:01Z")
    await page.sees("hub.orders.listed === 2")
    await page.tab.click("#newest li:last-child button")
    await page.sees("hub.order.state === 'live' && hub.order.events === 1")
    old = {"orderId": "o1", "status": "payment_confirmed"}  # as workers of older versions do
    await publisher.publish("orders", type="status", key="o1", data=old)
    await order_step(publisher, "o1", "shipped", trackingNumber="PS1")
    await page.sees("hub.order.state === 'over'")
    assert (await page.hub("order"))["steps"] == [
        "payment_processing",
        "payment_confirmed",
        "shipped",
    ]
    await page.sees("document.getElementById('steps').innerText.includes('PS1')")
    await page.sees("document.querySelector('#steps li:last-child').innerText === 'complete'")
    await page.sees("document.getElementById('order-state').innerText === 'finished'")
    # It stays closed, whatever else happens.
    requests = node.requests("/v1/orders/o1/status/stream")
    await order_step(publisher, "o1", "payment_processing", timestamp="2026-01-31T12:00:03Z")
    await shop.sell(5)
    await page.proves(9)  # the first step is of the state
    assert (await page.hub("order"))["events"] == 3
    assert node.requests("/v1/orders/o1/status/stream") == requests


async def test_recommendations_come_piece_by_piece(
    node: Node, page: Watched, publisher: Publisher, client: Any
) -> None:
    await page.open(node.url)
    await page.tab.fill("#user-id", "ada")
    await page.tab.click("#ask button")
    await page.sees("hub.recommendations.state === 'live'")
    requests = "recommendations.requests"
    assert await until(lambda: client.xlen(requests)) == 1
    ((run, _),) = await client.xrange(requests)
    run = run.decode() if isinstance(run, bytes) else run

    async def publish(type_: str, data: dict[str, object]) -> None:
        await publisher.publish("recommendations", type=type_, key=f"ada#{run}", data=data)

    piece = {"petId": "cat", "name": "Tom", "score": 0.9, "reason": "you like cats"}
    await publish("recommendation", piece)
    await page.sees("hub.recommendations.pieces === 1")
    await publish("recommendation", {**piece, "name": "Tim"})
    await publish("complete", {"total": 2, "processingTime": 12})
    await page.sees("hub.recommendations.state === 'over' && hub.recommendations.pieces === 2")
    await page.sees("document.getElementById('pieces').innerText.includes('12 ms')")
    # One answer was asked for. The request itself is struck out after a while.
    assert (await client.xinfo_stream(requests))["entries-added"] == 1


async def test_event_data_is_shown_as_text_and_never_as_markup(
    node: Node, page: Watched, publisher: Publisher
) -> None:
    await page.open(node.url)
    markup = "<img src=x onerror=hub.broken()>"
    change = {"petId": markup, "oldStock": markup, "newStock": 1}
    for data in (change, change, "no JSON", "null", "[]", '{"petId":{"a":1}}'):
        await publisher.publish("inventory", type="stock-change", key="k", data=data)
    await publisher.publish("inventory", data=markup)
    await order_step(publisher, markup, markup, timestamp=markup)
    await page.sees("hub.shop.events === 8 && hub.orders.listed === 1")
    await page.sees("document.getElementById('breaks').textContent.includes('<img')")
    await page.sees("document.getElementById('pets').textContent.includes('<img')")
    assert await page.tab.count("img") == 0
    await page.tab.click("#newest button")
    await page.sees("hub.order.steps.length === 1")
    assert await page.tab.count("img") == 0
    await page.tab.click("#to-channels")
    await page.sees("hub.channels.events === 8")
    await page.sees("document.getElementById('rows').textContent.includes('<img')")
    await page.sees("document.getElementById('frames').textContent.includes('<img')")
    assert await page.tab.count("img") == 0


@pytest.mark.parametrize("node", ["/shop/live"], indirect=True)
@pytest.mark.parametrize("slash", ["", "/"], ids=["without-slash", "with-slash"])
@in_one_browser
async def test_it_works_under_a_prefix(node: Node, page: Watched, shop: Shop, slash: str) -> None:
    await page.open(node.url + slash)
    await shop.sell(10)
    await page.proves(10)
    links = await page.tab.value("[...document.querySelectorAll('footer a')].map((a) => a.href)")
    assert links == [f"{node.url}/v1/channels", f"{node.url}/readyz"]


async def test_a_hidden_tab_gives_its_connection_back_and_misses_nothing(
    node: Node, page: Watched, shop: Shop
) -> None:
    await page.open(node.url)
    await shop.sell(10)
    await page.proves(10)
    await page.tab.run(_HURRY)
    await _hide(page, hidden=True)
    await page.sees("hub.line.state === 'resting'")
    await shop.sell(50)
    await _hide(page, hidden=False)
    await page.proves(60)
    assert (await page.hub("line"))["resets"] == 0


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


OWN = {
    "parcels": {"path": "/parcels", "access": "public"},
    "vans": {"path": "/vans/{key}", "access": "public"},
}
SECRET = "a secret of the tests with 32 bytes or more"


async def test_channels_of_ones_own_are_shown_with_keys_and_frames(
    browser: Browser, redis_url: str
) -> None:
    async with (
        running(redis_url, channels=OWN) as hub,
        Publisher(redis_url, channels=hub.node.settings.channels) as publisher,
    ):
        page = Watched(await browser.tab())
        await page.open(hub.url)
        assert await page.tab.value("hub.view") == "channels"
        # No type is known beforehand, and the key of an event is in its data.
        for number, place in enumerate(("Bonn", "Köln", "Bonn")):
            data = {"parcelId": f"p{number % 2}", "oldPlace": "x", "newPlace": place}
            id_ = await publisher.publish("parcels", type=f"arrived-{number}", key="p", data=data)
        await page.sees("hub.channels.events === 3 && hub.channels.keys === 2")
        await page.sees("document.getElementById('rows').innerText.includes('arrived-2')")
        assert "place Bonn" in await page.tab.text("#rows tr:first-child")
        assert await page.tab.value("hub.channels.missing") == 1  # x does not follow from Bonn
        frames = await page.tab.text("#frames")
        assert "everything that was missed was sent" in frames
        raw = await page.tab.text("#frames li:first-child")
        assert raw.startswith(f"id: {id_}\nevent: arrived-2\ndata: {{")
        # A channel that needs a key waits for one.
        await page.tab.click("#chips button:last-child")
        await page.sees(
            "document.getElementById('channels-note').innerText === 'vans: name a key.'"
        )
        await page.tab.fill("#filter-key", "v7")
        await publisher.publish("vans", type="moved", key="v7", data="north")
        await publisher.publish("vans", type="moved", key="v8", data="south")
        await page.sees("document.getElementById('rows').innerText.includes('north')")
        assert "south" not in await page.tab.text("#frames")
        curl = shlex.split((await page.tab.text("#curl")).splitlines()[0])
        assert curl == [
            "curl",
            "-N",
            f"{hub.url}/v1/events?channel=parcels&channel=vans&key=v7&from=1m",
        ]
        assert await browser.faults() == []


async def test_the_form_publishes_with_a_token_that_is_pasted(
    browser: Browser, redis_url: str
) -> None:
    async with running(redis_url, channels=OWN, token_secrets=(SECRET,)) as hub:
        page = Watched(await browser.tab())
        await page.open(hub.url)
        await page.tab.fill("#publish [name=type]", "arrived")
        await page.tab.fill("#publish [name=data]", '{"id": "p1", "weight": 1.10}')
        await page.tab.click("#publish-send")
        await page.sees(
            "document.getElementById('publish-note').innerText.includes('needs a token')"
        )
        may = make_token(
            hub.node.settings, subject="", subscribe=(), publish=("parcels",), expires="1m"
        )
        await page.tab.fill("#token", may)
        await page.tab.click("#publish-send")
        await page.sees("document.getElementById('publish-note').innerText.startsWith('Published')")
        await page.sees("hub.channels.events === 1")
        await page.sees("document.getElementById('rows').innerText.includes('weight 1.1')")
        assert '"weight": 1.10' in await page.tab.text("#frames")  # digit by digit
        await page.tab.run("() => { document.getElementById('publish-channel').value = 'vans'; }")
        await page.tab.click("#publish-send")
        await page.sees("document.getElementById('publish-note').innerText.startsWith('Not pub')")
        assert await page.tab.value("[localStorage.length, sessionStorage.length]") == [0, 0]


@in_one_browser
async def test_a_paused_view_still_counts(node: Node, page: Watched, shop: Shop) -> None:
    await shop.sell(10)
    await page.open(node.url + "/#channels")
    await page.sees("document.getElementById('checked').textContent === '6'")
    await page.sees("document.querySelectorAll('#rows tr').length === 2")
    await page.tab.click("#pause")
    before = await page.tab.text("#rows")
    await shop.sell(50)
    await page.sees("document.getElementById('checked').textContent === '56'")
    assert await page.tab.text("#rows") == before
    await page.tab.click("#pause")
    await page.sees("document.querySelector('#rows td:nth-child(5)').textContent === '30'")


@in_one_browser
async def test_it_shows_an_event_of_ones_own(
    node: Node, page: Watched, publisher: Publisher
) -> None:
    await page.open(node.url)
    id_ = await publisher.publish("inventory", data="hello")
    await page.sees("!document.getElementById('others').hidden")
    assert await page.tab.text("#others") == f"An event of your own, {id_}: hello"
    # Without the demo, the page does not know where Redis is. It must not guess the usual port. It
    # has no token either, so it offers nothing that needs one.
    await page.tab.click("#to-channels")
    assert "redis-cli -u YOUR_REDIS_URL XADD orders" in await page.tab.text("#curl")
    assert await page.tab.count("#pets button") == 0


# Of the pet that there are most of. One that is sold out would end the order as cancelled.
_ORDER = """() => {
  const stock = (pet) => Number(pet.querySelector("dd").textContent) || 0;
  const pets = [...document.querySelectorAll(".pet")].sort((a, b) => stock(b) - stock(a));
  pets[0].querySelector(".main").click();
}"""


async def test_the_demo_places_an_order_and_its_commands_work_as_shown(page: Watched) -> None:
    async with starting() as start:
        demo = await start("demo", "--port", "0")
        url = (await demo.line("The page")).split()[2]
        await page.open(url)
        await page.sees("document.querySelectorAll('#pets footer button').length === 36")
        await page.sees("hub.shop.checked > 24")
        await page.tab.run(_ORDER)
        offered = shlex.split((await demo.line("An event of your own")).partition("own")[2])
        status, _, said = await finished(await start(*offered[1:]))
        assert (status, said) == (0, "")
        await page.sees("document.getElementById('others').textContent.endsWith(': hello')")
        # Its steps come at a pace that an eye can follow, until it is complete.
        await page.sees("hub.order.steps.length === 4")
        await page.sees("hub.order.state === 'over'")
        steps = (await page.hub("order"))["steps"]
        assert steps == ["payment_processing", "payment_confirmed", "preparing_shipment", "shipped"]
        assert (await page.hub("shop"))["missing"] == 0
        await page.tab.click("#pets footer button:nth-child(2)")  # one more in stock
        await page.tab.click("#to-channels")
        await page.tab.fill("#publish [name=key]", "019b4132")
        await page.tab.fill("#publish [name=data]", '{"petId": "019b4132"}')
        await page.tab.click("#publish-send")
        await page.sees("document.getElementById('publish-note').innerText.startsWith('Published')")
        shown = (await page.tab.text("#curl")).splitlines()[-1]
        program, option, redis_url, *command = shlex.split(shown)
        assert (program, option) == ("redis-cli", "-u")
        with connect_sync(redis_url) as redis:
            assert redis.execute_command(*command)
            until_sync(lambda: redis.xlen("desk") == 2)  # the order, and the stock
        assert await demo.stop() == 0


@in_one_browser
async def test_the_page_says_if_a_hub_gives_out_orders_by_their_key_only(browser: Browser) -> None:
    async with running("", log=MemoryLog(), channels=PET_STORE) as hub:
        page = Watched(await browser.tab())
        await page.open(hub.url)
        await page.sees("document.getElementById('orders').innerText.includes('by their key only')")
        assert await page.tab.value("hub.line.lastId") == "0-0"  # of the inventory alone


@in_one_browser
async def test_the_page_says_that_the_right_to_read_has_ended(browser: Browser) -> None:
    ends_s = 0.0

    def policy(_: Caller, action: Action, channel: str, __: frozenset[str], /) -> Grant:
        nonlocal ends_s
        if channel != "inventory" or action is not Action.SUBSCRIBE:
            return Grant()
        if not hub.node.meters.opened.total():  # a slow page needs time until it opens its stream
            ends_s = time.time() + 1.0
        return Grant("ann", expires_s=ends_s)

    async with running("", log=MemoryLog(), authorize=policy) as hub:
        tab = await browser.tab()
        await tab.open(f"{hub.url}/")
        await tab.sees("document.body.innerText.includes('the right to read this has ended')")
        assert await tab.value("hub.line.state") == "refused"
        assert hub.node.meters.closed["expired"] == 1


@pytest.fixture
def pair(redis_url: str, tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    """Two nodes at one Redis. The second one takes the place of the first one when it is killed."""
    made = Node(redis_url, tmp_path / "first"), Node(redis_url, tmp_path / "second")
    for node in made:
        node.start()
    yield made
    for node in made:
        node.kill()


async def test_the_nodes_are_shown_and_a_tab_says_where_it_went_on(
    pair: tuple[Node, Node], page: Watched
) -> None:
    async with Switch() as switch:
        switch.target = pair[0].port
        await page.open(f"http://127.0.0.1:{switch.port}/#operations")
        await page.sees("hub.operations.nodes.length === 2")
        first = (await page.hub("operations"))["serving"]
        await page.sees("document.querySelectorAll('#chart-clients path').length === 2")
        assert first in await page.tab.text("#nodes tr:has(.here)")
        switch.target = pair[1].port
        pair[0].kill()
        await page.sees(f"hub.operations.moved?.from === '{first}'")
        second = (await page.hub("operations"))["serving"]
        said = f"{first} went; this tab went on at {second} after "
        await page.sees(f"document.getElementById('line').innerText.includes('{said}')")
        # Its line goes: it is not there any more, and the chart goes on without it.
        await page.sees(f"hub.operations.gone.join() === '{first}'")
        await page.sees("document.querySelector('#nodes .gone').innerText.includes('gone since')")
        assert (await page.hub("operations"))["nodes"] == [second]


async def test_a_tab_whose_node_is_killed_goes_on_at_another_one(
    pair: tuple[Node, Node], page: Watched, shop: Shop
) -> None:
    async with Switch() as switch:
        switch.target = pair[0].port
        await page.open(f"http://127.0.0.1:{switch.port}/")
        await shop.sell(10)
        await page.proves(10)
        switch.target = pair[1].port
        pair[0].kill()
        await shop.sell(50)
        await page.sees("hub.line.reconnects > 0")
        await shop.sell(10)
        await page.proves(70, checked=66)
        assert (await page.hub("line"))["resets"] == 0


async def test_the_first_event_comes_soon_and_little_is_transferred(
    node: Node, page: Watched, shop: Shop, record_property: Any
) -> None:
    await shop.sell_before(node, 20)
    await page.open(node.url)
    await page.sees("hub.line.firstMs > 0")
    first_ms = (await page.hub("line"))["firstMs"]
    print(f"first event {first_ms} ms after the navigation")  # noqa: T201 -- to be looked at
    record_property("first_event_ms", first_ms)
    sizes: dict[str, int] = await page.tab.value(_SIZES)
    scripts = {name: size for name, size in sizes.items() if "/v1/" not in name}
    assert f"{node.url}/client.js" in scripts
    assert sum(scripts.values()) <= 60_000


_SIZES = """Object.fromEntries(
  ["navigation", "resource"].flatMap((kind) => performance.getEntriesByType(kind))
    .map((entry) => [entry.name, entry.encodedBodySize ?? 0]))"""


async def test_seven_tabs_are_live_over_six_connections(
    node: Node, browser: Browser, shop: Shop
) -> None:
    await shop.sell_before(node, 10)
    tabs = [Watched(await browser.tab()) for _ in range(7)]
    for tab in tabs:
        await tab.open(node.url)
    await shop.sell(10)
    for tab in tabs:
        await tab.proves(10, checked=10)
    # They share a connection: there is one client, if none is just about to give its own up.
    await until(lambda: node.clients() == 1)
    assert await browser.faults() == []


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core, which npm fetches and checks; skipped where that is not possible."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    place = tmp_path_factory.mktemp("axe")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(_AXE / name, place)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=place, capture_output=True, timeout=PATIENCE_S * 3)
    if done.returncode:
        pytest.skip(f"npm can't fetch axe-core: {done.stderr.decode()[-200:]}")
    return (place / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8")


@in_one_browser
async def test_axe_finds_nothing_serious(
    node: Node, page: Watched, shop: Shop, axe: str, publisher: Publisher
) -> None:
    await shop.sell(20)
    await order_step(publisher, "o1", "payment_processing", timestamp="2026-01-31T12:00:00Z")
    await page.open(node.url)
    await page.sees("document.getElementById('pets').innerText.includes('9,992')")
    await page.sees("hub.orders.listed === 1")
    await page.tab.run(f"() => {{ {axe} }}")
    for view in ("shop", "channels", "operations"):
        await page.tab.click(f"#to-{view}")
        await page.sees(f"hub.view === '{view}' && hub.line.state === 'live'")
        # A cell that lights up has other colours for a moment.
        await page.sees("document.getAnimations().every((each) => each.playState !== 'running')")
        await page.tab.run("() => { window.found = null; axe.run().then((all) => found = all); }")
        await page.sees("found !== null")
        assert await page.tab.value(_SERIOUS) == [], view


_AXE = Path(__file__).parents[1] / "clients" / "axe"
_SERIOUS = """found.violations.filter((each) => ["serious", "critical"].includes(each.impact))
  .map((each) => [each.id, each.nodes.map((node) => node.html.slice(0, 200))])"""
