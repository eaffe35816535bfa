"""`/client.js` in three browsers, over real nodes: what it does for a page."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from broadcaster import Channel, Publisher
from broadcaster.backend.embedded import free_port
from broadcaster.web.tokens.reader import TokenReader
from tests.clients.browsers import Browser, Tab
from tests.clients.browsers.blank import blank_page
from tests.clients.switch import Switch
from tests.docs.terminal import file_of
from tests.nodes import Running, running
from tests.relay import PIECE
from tests.wait import until
from tests.web.tokens.issuers import SECRET, token

STOCK = "/v1/inventory/stream"
SETTINGS: dict[str, Any] = {"cors_origins": ("*",), "heartbeat_s": 0.5}
# A page writes down all that its handlers are told.
FOLLOW = """(client, url, options, more) => {
  window.got = []; window.own = []; window.statuses = [];
  import(client).then(({ subscribe }) => {
    const note = (name) => (data) => own.push([name, data ?? null]);
    window.stream = subscribe(url, {
      types: ["stock-change", "price-change"], retryMs: 20, ...options, ...eval(more),
      onEvent: (event) => got.push([event.type, event.data, event.id]),
      onState: note("state"), onReset: note("reset"), onLive: note("live"),
      onSuperseded: note("superseded"), onComplete: note("complete"), onExpired: note("expired"),
      onError: (error) => own.push(["error", error.status, error.message]),
      onStatus: (status) => statuses.push(status),
    });
  });
}"""
LIVE = "window.stream?.status === 'live'"


class Stalling(Switch):
    """A switch whose connections can go dead: they stay open, and nothing comes any more."""

    def __init__(self) -> None:
        super().__init__()
        self._flows = asyncio.Event()
        self._flows.set()

    def stall(self) -> None:
        """Let no byte pass on the connections that there are. Later ones are not concerned."""
        self._flows.clear()
        self._flows = asyncio.Event()
        self._flows.set()

    async def _answer(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        flows = self._flows
        while piece := await there.read(PIECE):
            await flows.wait()
            writer.write(piece)
            await writer.drain()


@pytest.fixture
async def hub(redis_url: str) -> AsyncIterator[Running]:
    async with running(redis_url, **SETTINGS) as made:
        yield made


async def follow(tab: Tab, url: str, path: str, more: str = "({})", **options: Any) -> None:
    """Subscribe in a tab, and wait until the stream is live.

    Args:
        tab: a page of any origin.
        url: of a node, or of a switch.
        path: of the event stream.
        more: options that JSON can't express, as an object in JavaScript.
        options: of `subscribe`.
    """
    await tab.run(FOLLOW, f"{url}/client.js", url + path, options, more)
    await tab.sees(LIVE, "[window.statuses, window.own]")


async def changed(publisher: Publisher, *stocks: int) -> list[list[Any]]:
    """Publish changes of a stock; return what a page is to see of them."""
    events = [("inventory", "stock-change", "7", {"newStock": n}) for n in stocks]
    ids = await publisher.publish_many(events)
    return [["stock-change", e[3], str(id_)] for e, id_ in zip(events, ids, strict=True)]


async def sees(tab: Tab, expected: list[list[Any]]) -> None:
    """Wait until a page has seen as many events, and compare them."""
    await tab.sees(f"got.length >= {len(expected)}", "[statuses, own, got]")
    assert await tab.value("got") == expected


async def test_a_page_gets_parsed_events_of_the_types_that_it_names(
    hub: Running, blank: Tab, browser: Browser, publisher: Publisher
) -> None:
    first = await changed(publisher, 1)
    await until(lambda: len(hub.node.hub.windows["inventory"]) == 1)
    await follow(blank, hub.url, STOCK + "?from=earliest")
    later = await changed(publisher, 2, 3)
    text = str(await publisher.publish("inventory", type="price-change", key="7", data="no JSON"))
    await sees(blank, [*first, *later, ["price-change", "no JSON", text]])
    assert await blank.value("own") == [["live", {"replayed": 1}]]
    assert await blank.value("stream.lastEventId") == text
    assert await blank.value("statuses") == ["live"]
    await blank.run("() => stream.close()")
    await until(lambda: not hub.node.hub.subscribers)
    assert await browser.faults() == []


async def test_the_page_of_the_readme_shows_a_stock(
    hub: Running, browser: Browser, publisher: Publisher
) -> None:
    tab = await browser.tab()
    await tab.open(f"{hub.url}/metrics")
    page = file_of("README.md", "stock.html")
    assert len(page.splitlines()) == 10
    await tab.run(
        """(page) => {
          document.body.innerHTML = page;
          const script = document.createElement("script");
          script.type = "module";
          script.textContent = document.querySelector("script").textContent;
          document.body.append(script);
        }""",
        page,
    )
    await until(lambda: hub.node.hub.live == 1)
    await publisher.publish("inventory", type="stock-change", key="7", data={"newStock": 4})
    await tab.sees("stock.textContent === '4'")


async def test_an_order_is_followed_until_it_is_complete(
    hub: Running, blank: Tab, publisher: Publisher
) -> None:
    await publisher.publish("orders", key="7", data={"status": "shipped"})
    await follow(blank, hub.url, "/v1/orders/7/status/stream")
    await publisher.publish("orders", type="complete", key="7", data={"status": "done"})
    await blank.sees("stream.status === 'complete'", "[statuses, own]")
    assert [event[:2] for event in await blank.value("got")] == [
        ["message", {"status": "shipped"}],
        ["complete", {"status": "done"}],
    ]
    assert (await blank.value("own"))[-1] == ["complete", None]


async def test_one_order_of_several_may_be_complete(
    hub: Running, blank: Tab, publisher: Publisher
) -> None:
    url = "/v1/events?channel=orders&channel=inventory&key=7&key=8"
    async with Switch() as switch:
        switch.target = hub.port
        await follow(blank, f"http://127.0.0.1:{switch.port}", url)
        await publisher.publish("orders", type="complete", key="7", data={})
        await blank.sees("got.length === 1")
        switch.cut()
        await publisher.publish("orders", type="complete", key="8", data={})
        await blank.sees("got.length === 2", "[statuses, own]")
        await blank.sees(LIVE)


async def test_it_goes_on_at_another_node_without_a_gap(
    hub: Running, redis_url: str, blank: Tab, publisher: Publisher
) -> None:
    async with running(redis_url, **SETTINGS) as other, Switch() as switch:
        switch.target = hub.port
        await follow(blank, f"http://127.0.0.1:{switch.port}", STOCK)
        seen = await changed(publisher, 1, 2)
        await sees(blank, seen)
        switch.target = other.port
        switch.cut()
        seen += await changed(publisher, 3, 4)
        await sees(blank, seen)
        await until(lambda: not hub.node.hub.subscribers)
        await blank.sees(LIVE)
        assert "reconnecting" in await blank.value("statuses")
        assert "reset" not in [name for name, *_ in await blank.value("own")]


async def test_a_reload_goes_on_where_the_page_was(
    hub: Running, browser: Browser, publisher: Publisher
) -> None:
    more = "({ keep: sessionStorage })"
    async with blank_page() as address:
        tab = await browser.tab()
        await tab.open(address)
        await follow(tab, hub.url, STOCK, more)
        await sees(tab, await changed(publisher, 1))
        await tab.open(address)
        missed = await changed(publisher, 2, 3)
        await follow(tab, hub.url, STOCK, more)
        await sees(tab, missed)


async def test_a_dead_link_is_given_up(hub: Running, blank: Tab, publisher: Publisher) -> None:
    async with Stalling() as switch:
        switch.target = hub.port
        await follow(blank, f"http://127.0.0.1:{switch.port}", STOCK, silenceMs=4000)
        switch.stall()
        await sees(blank, await changed(publisher, 1, 2))
        assert len(switch.requests) > 2  # the script, and two event streams
        await blank.sees(LIVE)
        assert await blank.value("statuses") == ["live", "reconnecting", "replaying", "live"]


async def test_a_page_sees_heartbeats(hub: Running, blank: Tab) -> None:
    url = hub.url + STOCK + "?heartbeat=event"
    await blank.run(
        """(url) => {
          window.beats = 0;
          new EventSource(url).addEventListener("stream.at", () => { beats += 1; });
        }""",
        url,
    )
    await blank.sees("beats >= 3")


async def test_a_refused_connection_is_tried_again(
    redis_url: str, blank: Tab, publisher: Publisher
) -> None:
    port = free_port()
    async with running(redis_url, port=port, **SETTINGS) as hub:
        await follow(blank, hub.url, STOCK)
        seen = await changed(publisher, 1)
        await sees(blank, seen)
    await blank.sees("stream.status === 'reconnecting'")
    # Each browser has found by now that the port is closed: Firefox gives up then.
    await blank.sees("performance.now() > (window.since ??= performance.now()) + 500")
    seen += await changed(publisher, 2)
    async with running(redis_url, port=port, **SETTINGS):
        await sees(blank, seen)
        await blank.sees(LIVE)


async def test_a_reset_is_told(redis_url: str, blank: Tab, publisher: Publisher) -> None:
    channels = {"inventory": Channel(name="inventory", path=STOCK)}  # it has no state
    async with running(redis_url, channels=channels, **SETTINGS) as hub:
        first = await changed(publisher, 1)
        await until(lambda: str(hub.node.hub.windows["inventory"].head) == first[0][2])
        await follow(blank, hub.url, STOCK, lastEventId="1-1")
        (name, reset), *rest = await blank.value("own")
        assert name == "reset"
        assert (reset["channel"], reset["reason"], reset["requested"]) == (
            "inventory", "unknown", "1-1",
        )  # fmt: skip
        assert [one for one, *_ in rest] == ["live"]
        await sees(blank, first)


async def test_a_page_begins_with_the_state(hub: Running, blank: Tab, publisher: Publisher) -> None:
    await changed(publisher, 1, 2)
    await until(lambda: len(hub.node.hub.windows["inventory"]) == 2)
    await follow(blank, hub.url, STOCK + "?from=state")
    ((*state, id_),) = await blank.value("got")
    assert (state, id_) == (["stock-change", {"newStock": 2}], "state")
    assert await blank.value("own") == [
        ["state", {"channel": "inventory", "keys": 1}],
        ["live", {"replayed": 1}],
    ]
    (news,) = await changed(publisher, 3)
    await blank.sees("got.length === 2", "got")
    assert (await blank.value("got"))[1] == news


async def test_what_the_hub_refuses_is_not_asked_again(hub: Running, blank: Tab) -> None:
    await blank.run(FOLLOW, f"{hub.url}/client.js", hub.url + STOCK + "?form=1", {}, "({})")
    await blank.sees("window.stream?.status === 'failed'")
    ((name, status, said),) = await blank.value("own")
    assert (name, status) == ("error", 400)
    assert said == "there is no parameter 'form': did you mean 'from'?"


async def test_a_fresh_ticket_comes_in_time(
    redis_url: str, blank: Tab, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed_s, of_day = [0.0], time.time
    monkeypatch.setattr(time, "time", lambda: of_day() + sum(passed_s))
    rights: dict[str, Any] = {"sub": "ann", "broadcaster": {"subscribe": ["orders:7"]}}
    short, long = (token(SECRET, exp=int(of_day()) + lives_s, **rights) for lives_s in (600, 6000))
    async with running(redis_url, token_secrets=[SECRET], **SETTINGS) as hub:
        assert isinstance(hub.node.verifier, TokenReader)
        hub.node.verifier = replace(hub.node.verifier, now_s=time.time)
        ticket = f"""({{ ticket: async () => {{
          const asked = {{ method: "POST", headers: {{ Authorization: "Bearer " + token }} }};
          return (await fetch("{hub.url}/v1/tickets?channel=orders", asked)).json();
        }} }})"""
        await blank.run("(token) => { window.token = token; }", short)
        await follow(blank, hub.url, "/v1/orders/7/status/stream", ticket)
        await publisher.publish("orders", key="7", data={"n": 1})
        await blank.sees("got.length === 1")
        await blank.run("(token) => { window.token = token; }", long)
        passed_s.append(700)  # more than its life, and the hub's leeway
        await blank.sees("own.some(([name]) => name === 'expired')", "own")
        await publisher.publish("orders", key="7", data={"n": 2})
        await blank.sees("got.length === 2", "[statuses, own, got]")
        await blank.sees(LIVE)
        # Without a right, it is over. The hub's own words say why.
        await blank.run("(token) => { window.token = token; }", "none")
        passed_s.append(6000)
        await blank.sees("stream.status === 'failed'", "[statuses, own]")
        assert (await blank.value("own"))[-1][:2] == ["error", 401]
    assert [data["n"] for _, data, _ in await blank.value("got")] == [1, 2]


async def test_seven_tabs_share_one_connection(
    hub: Running, browser: Browser, publisher: Publisher
) -> None:
    first = await changed(publisher, 1)
    connected = hub.node.hub.subscribers
    async with blank_page() as address:
        tabs = [await browser.tab() for _ in range(7)]
        for tab in tabs:
            await tab.open(address)
            await follow(tab, hub.url, STOCK + "?from=earliest", share=True)
        await until(lambda: len(connected) == 1)
        seen = first + await changed(publisher, 2, 3)
        for tab in tabs:
            await sees(tab, seen)
        # The tab that has the connection unsubscribes, and then the next one goes elsewhere.
        await tabs[0].run("() => stream.close()")
        seen += await changed(publisher, 4)
        for tab in tabs[1:]:
            await sees(tab, seen)
        await tabs[1].open("about:blank")
        seen += await changed(publisher, 5, 6)
        for tab in tabs[2:]:
            await sees(tab, seen)
            await tab.sees(LIVE, "statuses")
        await until(lambda: len(connected) == 1)


async def test_it_is_an_async_iterator(hub: Running, blank: Tab, publisher: Publisher) -> None:
    await publisher.publish("orders", key="7", data={"n": 1})
    await publisher.publish("orders", type="complete", key="7", data={"n": 2})
    await blank.run(
        """(client, url) => {
          window.seen = [];
          import(client).then(async ({ subscribe }) => {
            for await (const event of subscribe(url)) seen.push([event.type, event.data.n ?? null]);
            seen.push("over");
          });
        }""",
        f"{hub.url}/client.js",
        f"{hub.url}/v1/orders/7/status/stream",
    )
    await blank.sees("seen.at(-1) === 'over'", "seen")
    assert await blank.value("seen") == [["message", 1], ["complete", 2], "over"]
