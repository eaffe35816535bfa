"""The hooks of `/react.js` and the client in Node, as those that use them would build them."""

from __future__ import annotations

import asyncio
import json
import re
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broadcaster import Channel, Publisher
from tests.clients import package
from tests.clients.browsers import Browser, Tab
from tests.nodes import Running, running
from tests.wait import until

ORDER = "/v1/orders/{}/status/stream"


@pytest.fixture
async def hub(redis_url: str) -> AsyncIterator[Running]:
    async with running(redis_url, cors_origins=("*",)) as made:
        yield made


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built as for a registry."""
    place = package.copied(tmp_path_factory.mktemp("package"))
    package.run(place, "build.mjs")
    return place


@pytest.fixture(scope="session")
def app(built: Path) -> str:
    """The script of a page, with React and the hooks in it, built by Vite.

    It is built for development: only then does StrictMode mount everything twice.
    """
    command = ("build", "test/app", "--mode", "development", "--outDir", str(built / "page"))
    package.run(built, "node_modules/vite/bin/vite.js", *command, NODE_ENV="development")
    (script,) = (built / "page" / "assets").glob("*.js")
    return script.read_text("utf-8")


@pytest.fixture
async def page(blank: Tab, app: str) -> Tab:
    """The page, which follows nothing yet."""
    await blank.run(
        """(source) => {
          const script = document.createElement("script");
          script.type = "module";
          script.src = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
          document.body.append(script);
        }""",
        app,
    )
    await blank.sees("!!window.show && !!document.getElementById('order')")
    return blank


async def shows(page: Tab, what: str, status: str, text: str) -> None:
    """Wait until a part of the page shows a status and a text."""
    found = f"document.getElementById('{what}')"
    await page.sees(
        f"{found}.title === {status!r} && {found}.textContent === {json.dumps(text)}",
        f"[{found}.title, {found}.textContent]",
    )


async def show(page: Tab, **urls: str | None) -> None:
    await page.run("(urls) => { show((before) => ({ ...before, ...urls })); }", urls)


async def test_an_order_and_a_state_are_shown(
    hub: Running, page: Tab, browser: Browser, publisher: Publisher
) -> None:
    subscribers = hub.node.hub.subscribers
    await shows(page, "stock", "replaying", "{}")
    await publisher.publish(
        "inventory", type="stock-change", key="a", data={"petId": "a", "newStock": 1}
    )
    await publisher.publish("orders", key="7", data={"status": "placed"})
    url = hub.url + "/v1/inventory/stream?from=earliest"
    await show(page, stock=url, order=hub.url + ORDER.format(7))
    await shows(page, "stock", "live", '{"a":1}')
    await shows(page, "order", "live", "placed")
    await until(lambda: len(subscribers) == 2)  # StrictMode has mounted each hook twice
    for pet, stock in (("b", 5), ("a", 0)):
        data = {"petId": pet, "newStock": stock}
        await publisher.publish("inventory", type="stock-change", key=pet, data=data)
    await shows(page, "stock", "live", '{"a":0,"b":5}')
    # Another url begins anew, without what came from the old one.
    await publisher.publish("orders", key="8", data={"status": "paid"})
    await show(page, order=hub.url + ORDER.format(8))
    await shows(page, "order", "live", "paid")
    await until(lambda: len(subscribers) == 2)
    for status in ("packed", "shipped", "arrived"):
        await publisher.publish("orders", key="8", data={"status": status})
    await shows(page, "order", "live", "packed,shipped,arrived")  # the newest three
    await publisher.publish("orders", type="complete", key="8", data={"status": "done"})
    await shows(page, "order", "complete", "shipped,arrived,done")
    await show(page, order=hub.url + "/v1/orders/9/nothing")
    await page.sees("document.getElementById('order').title === 'failed'")
    await show(page, order=None)
    await shows(page, "order", "replaying", "")
    await page.run("() => root.unmount()")
    await until(lambda: not subscribers)
    refused = re.compile("404")
    assert [text for text in await browser.faults() if not refused.search(text)] == []


async def test_a_state_is_whole_over_all_shards(redis_url: str, page: Tab) -> None:
    path = "/v1/inventory/stream"
    of_all = {"state": "last", "shards": 3, "coalesce": True, "window_events": 9}
    channels = {"inventory": Channel(name="inventory", path=path, **of_all)}  # type: ignore[arg-type]
    async with (
        running(redis_url, channels=channels, cors_origins=("*",)) as hub,
        Publisher(redis_url, channels=channels) as publisher,
    ):
        stock = {pet: number for number, pet in enumerate("abcdef")}
        for pet, number in stock.items():
            for newest in (100, number):
                data = {"petId": pet, "newStock": newest}
                await publisher.publish("inventory", type="stock-change", key=pet, data=data)
        await until(lambda: sum(map(len, hub.node.hub.windows.values())) == 2 * len(stock))
        await show(page, stock=hub.url + path)
        shown = "JSON.parse(document.getElementById('stock').textContent)"
        await page.sees("document.getElementById('stock').title === 'live'", shown)
        await page.finds(shown, stock)
        await publisher.publish(
            "inventory", type="stock-change", key="a", data={"petId": "a", "newStock": 9}
        )
        await page.finds(shown, {**stock, "a": 9})
        # It falls behind the window of one shard, and gets its state in the place of events.
        await until(lambda: len(hub.node.hub.subscribers) == 1)  # StrictMode has opened two
        (client,) = hub.node.hub.subscribers
        hub.node.hub.lag(client)
        for newest in range(10, 40):
            data = {"petId": "a", "newStock": newest}
            newest_id = await publisher.publish(
                "inventory", type="stock-change", key="a", data=data
            )
        await until(lambda: any(w.head == newest_id for w in hub.node.hub.windows.values()))
        client.wake()
        await page.finds(shown, {**stock, "a": 39})


async def test_a_program_in_node_reads_until_the_end(
    hub: Running, built: Path, publisher: Publisher
) -> None:
    await publisher.publish("orders", key="7", data={"status": "placed"})
    process = await asyncio.create_subprocess_exec(
        package.NODE, "test/node.mjs", hub.url + ORDER.format(7), cwd=built, stdout=PIPE
    )
    assert process.stdout
    assert json.loads(await process.stdout.readline()) == ["message", {"status": "placed"}]
    assert json.loads(await process.stdout.readline()) == ["stream.live", {"replayed": 1}]
    await publisher.publish("orders", type="complete", key="7", data={"status": "done"})
    assert json.loads(await process.stdout.readline()) == ["complete", {"status": "done"}]
    assert json.loads(await process.stdout.readline()) == ["complete"]
    assert await process.wait() == 0  # no timer and no connection keeps it


def test_its_own_tests_pass(built: Path) -> None:
    package.run(built, "node_modules/typescript/bin/tsc", "-p", "tsconfig.test.json")
    package.run(built, "node_modules/vitest/vitest.mjs", "run")
