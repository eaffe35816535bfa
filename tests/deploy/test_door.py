"""Customers' streams on two nodes behind HAProxy, with real browsers as clients.

The customer's page is of another origin than the hub's. It reads with a native `EventSource`, and
with `fetch` where that can say more.
"""

from __future__ import annotations

import asyncio
import math
import signal
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from broadcaster import Publisher
from tests.backend.conftest import events_of
from tests.clients.browsers import Browser, Tab
from tests.clients.browsers.blank import blank_page
from tests.command_line import finished, starting
from tests.deploy.balancers import Balancer
from tests.deploy.conftest import Balance
from tests.deploy.customer import Customer, changes, hers, settings
from tests.wait import allowed_s, until

pytestmark = pytest.mark.parametrize("balance", ["haproxy"], indirect=True)

ORDER = "/v1/orders/{}/status/stream"
EVENTS = "/v1/events?channel=orders&from=earliest"

Shop = Callable[..., Awaitable[tuple[Balancer, Customer]]]


@pytest.fixture
async def shop(balance: Balance, blank: Tab) -> Shop:
    """Opens a shop: a hub with two nodes, and the page of its customer."""

    async def opened(**more: Any) -> tuple[Balancer, Customer]:
        origin = await blank.value("location.origin")
        balancer = await balance(changes(origin), **settings(origin), **more)
        customer = Customer(blank, f"http://127.0.0.1:{balancer.port}")
        await customer.begin()
        return balancer, customer

    return opened


# Who sees what


#: What a customer gets at each door, and what a caller without a token does.
DOORS: dict[str, tuple[Any, Any]] = {
    ORDER.format("7"): (["hers"], 401),
    ORDER.format("8"): (403, 401),
    ORDER.format("*"): (403, 401),
    ORDER.format("7%3A8"): (403, 401),
    EVENTS: (["hers"], 401),
    f"{EVENTS}&key=7": (["hers"], 401),
    f"{EVENTS}&key=8": (403, 401),
    f"{EVENTS}&key=7&key=8": (403, 401),
    f"{EVENTS}&key=*": (403, 401),
    "/v1/events?channel=orders,inventory&from=earliest": (["hers", "inventory"], 401),
    "/v1/events?channel=orders,recommendations": (403, 401),
    "/v1/events?channel=*": (404, 404),
    "/v1/events?channel=inventory&from=earliest": (["inventory"], ["inventory"]),
    "/v1/pets/recommendations/stream": (403, 401),
    "/v1/channels": (["orders", "inventory"], ["inventory"]),
    "/v1/channels/orders": ("orders", 401),
    "/v1/channels/recommendations": (403, 401),
}


#: Who knocks: what is added to the query, whether cookies are sent, and the headers.
Knock = tuple[str, bool, dict[str, str]]


def attempts(knocks: dict[str, Knock]) -> dict[tuple[str, str, str], tuple[Any, ...]]:
    """All ways in: by `fetch`, and by an `EventSource`, which sends no headers."""
    found = dict[tuple[str, str, str], tuple[Any, ...]]()
    for caller, (added, cookies, headers) in knocks.items():
        for path in DOORS:
            url = path + (("&" if "?" in path else "?") + added if added else "")
            found[caller, path, "byFetch"] = ("byFetch", url, cookies, headers)
            if not headers and not path.startswith("/v1/channels"):
                found[caller, path, "byEventSource"] = ("byEventSource", url, cookies)
    return found


def expected(caller: str, path: str, by: str) -> Any:
    of_customer, of_stranger = DOORS[path]
    found = of_stranger if caller == "nobody" else of_customer
    return "closed" if by == "byEventSource" and not isinstance(found, list) else found


def names(got: Any) -> Any:
    """Replace descriptions of channels by their names."""
    if not isinstance(got, dict):
        return got
    return [one["channel"] for one in got["channels"]] if "channels" in got else got["channel"]


def have_read(balancer: Balancer, stream: str, count: int) -> bool:
    """Return True if both nodes have so many events of a stream."""
    return all(len(hub.node.hub.windows[stream]) == count for hub in balancer.hubs)


async def test_a_customer_sees_her_order_and_no_other_through_every_door(
    shop: Shop, publisher: Publisher, browser: Browser
) -> None:
    balancer, customer = await shop()
    for key, data in (("7", "hers"), ("8", "his"), ("7:8", "theirs"), ("*", "all"), ("", "none")):
        await publisher.publish("orders", key=key, data=data)
        await publisher.publish("recommendations", key=key, data=data)
    await publisher.publish("inventory", data="inventory")
    for stream, count in (("orders", 5), ("recommendations", 5), ("inventory", 1)):
        await until(partial(have_read, balancer, stream, count))
    bearer = hers()
    ticket = f"ticket={await customer.ticket(bearer)}"
    await customer.tab.run("(text) => { document.cookie = text; }", f"session={bearer}")
    ways = attempts(
        {
            "ticket": (ticket, False, {}),
            "cookie": ("", True, {}),
            "bearer": ("", False, {"Authorization": f"Bearer {bearer}"}),
            "nobody": ("", False, {}),
        }
    )
    results = dict(zip(ways, map(names, await customer.tries(list(ways.values()))), strict=True))
    assert results == {way: expected(*way) for way in ways}

    # What comes while she is there, by each of the three.
    await customer.watches(f"{EVENTS}&{ticket}")
    await customer.watches(f"{ORDER.format(7)}?{ticket}")
    await customer.watches(EVENTS, cookies=True)
    for key, data in (("8", "his again"), ("", "none again"), ("7", "hers again")):
        await publisher.publish("orders", key=key, data=data)
    await customer.tab.sees("feeds.slice(-3).every((kept) => kept.seen.length > 1)")
    seen = await customer.tab.value("feeds.slice(-3).map((kept) => kept.seen)")
    assert seen == [["hers", "hers again"]] * 3

    # A page of another origin, in the same browser, with the ticket that it has got hold of.
    before = balancer.opened()
    async with blank_page() as address:
        stranger = Customer(await browser.tab(), customer.hub)
        await stranger.tab.open(address)
        await stranger.begin()
        assert await stranger.tab.value("document.cookie") == f"session={bearer}"
        got = await stranger.tries(
            [
                ("byFetch", EVENTS, True),
                ("byFetch", f"{EVENTS}&{ticket}", False),
                ("byEventSource", EVENTS, True),
                ("byEventSource", f"{EVENTS}&{ticket}", False),
            ]
        )
    assert got == ["unreadable", "unreadable", "closed", "closed"]
    assert balancer.opened() == before


# Streams that end


async def test_a_stream_that_expires_ends_and_does_not_come_back(
    shop: Shop, publisher: Publisher
) -> None:
    balancer, customer = await shop(leeway_s=0)
    await publisher.publish("orders", key="7", data="first")
    other = await customer.ticket(hers(sub="bob"))
    await customer.watches(f"{EVENTS}&ticket={other}")
    for lives_s in (2, 10, 60):  # how long a machine needs that has much to do
        ends_s = math.ceil(time.time()) + lives_s
        bearer = hers(exp=ends_s)
        url = f"{EVENTS}&ticket={await customer.ticket(bearer)}"
        before = balancer.opened()
        await customer.tab.run("(url) => { watch(url); }", url)
        await customer.tab.sees("feeds.at(-1).live || isClosed(feeds.at(-1))")
        await customer.tab.sees("isClosed(feeds.at(-1))")
        if await customer.tab.value("feeds.at(-1).opens"):
            break
    late_s = await customer.tab.value("feeds.at(-1).expired[0]") / 1000 - ends_s
    assert 0 <= late_s < allowed_s(1.0)
    assert balancer.opened() == before + 1
    assert sum(hub.node.meters.closed["expired"] for hub in balancer.hubs) == 1
    assert await customer.get(url) == 401
    assert await customer.get(EVENTS, Authorization=f"Bearer {bearer}") == 401

    await publisher.publish("orders", key="7", data="second")
    await customer.tab.sees("feeds[0].seen.length === 2")
    shown = {"opens": 1, "expired": 0, "state": 1, "seen": ["first", "second"]}
    gone = {"opens": 1, "expired": 1, "state": 2, "seen": ["first"]}
    assert await customer.tab.value("feeds.filter((kept) => kept.opens).map(shown)") == [
        shown,
        gone,
    ]


async def test_a_revocation_ends_streams_on_both_nodes_within_a_second_and_for_good(
    shop: Shop, publisher: Publisher, redis_url: str
) -> None:
    balancer, customer = await shop()
    await publisher.publish("orders", key="7", data="first")
    bearer = hers(iat=int(time.time()) - 10)
    other = await customer.ticket(hers(sub="bob"))
    await customer.watches(f"{EVENTS}&ticket={other}")
    url = f"{EVENTS}&ticket={await customer.ticket(bearer)}"
    for _ in range(3):
        await customer.watches(url)
    for hub in balancer.hubs:
        assert "ann" in {one.holder.subject for one in hub.node.hub.subscribers if one.holder}
    before = balancer.opened()
    async with starting() as start:
        status, said, _ = await finished(await start("revoke", "ann", "--redis-url", redis_url))
    assert status == 0
    at_ms = int(said[0].split()[2].partition("-")[0])
    await customer.tab.sees("feeds.slice(1).every(isClosed)")
    expired = await customer.tab.value("feeds.slice(1).flatMap((kept) => kept.expired)")
    assert len(expired) == 3
    assert max(expired) - at_ms < 1000 * allowed_s(1.0)
    assert balancer.opened() == before
    assert sum(hub.node.meters.closed["revoked"] for hub in balancer.hubs) == 3
    assert await customer.get(url) == 401
    assert await customer.get(EVENTS, Authorization=f"Bearer {bearer}") == 401

    later = await customer.ticket(hers(iat=at_ms // 1000 + 2))  # she has logged in again
    await customer.watches(f"{EVENTS}&ticket={later}")
    await publisher.publish("orders", key="7", data="second")
    await customer.tab.sees("feeds[0].seen.length === 2 && feeds.at(-1).seen.length === 2")
    gone = {"opens": 1, "expired": 1, "state": 2, "seen": ["first"]}
    good = {"opens": 1, "expired": 0, "state": 1, "seen": ["first", "second"]}
    assert await customer.tab.value("feeds.map(shown)") == [good, gone, gone, gone, good]


# A ticket, and nodes that go


async def keeps_publishing(publisher: Publisher) -> None:
    """Publish steps of her order, and of another one, until cancelled."""
    while True:
        for key in ("7", "8"):
            await publisher.publish("orders", key=key, data="step")
        await asyncio.sleep(0.02)


async def test_a_ticket_survives_its_nodes_and_a_fresh_one_goes_on_without_a_gap(
    shop: Shop, publisher: Publisher, client: Any
) -> None:
    balancer, customer = await shop(mortal=True, drain_s=0.2)
    tab, bearer = customer.tab, hers()
    await tab.run("(token) => { follow(token); }", bearer)
    await tab.sees("feeds.at(-1)?.live")
    publishing = asyncio.create_task(keeps_publishing(publisher))
    try:
        # The node of her stream drains, and later the other one is killed. Their successors issue
        # tickets for 2 s.
        for how in (signal.SIGTERM, signal.SIGKILL):
            number, opens = await balancer.holder(), await tab.value("feeds[0].opens")
            node = balancer.nodes[number]
            node.process.send_signal(how)
            await tab.sees(f"feeds[0].opens > {opens} && feeds[0].live", "feeds.map(shown)")
            assert await balancer.holder() == 1 - number
            await node.ended()
            await balancer.start_node(number, ticket_s=2)
            await balancer.used()
        assert await tab.value("[tickets, given_up, feeds.length]") == [1, 0, 1]

        # A ticket ends, and then the node of its stream drains.
        await tab.run("(token) => { feeds[0].feed.close(); follow(token); }", bearer)
        await tab.sees("tickets > 1 && feeds.at(-1).live && Date.now() > ends", "feeds.map(shown)")
        given_up, tickets = await tab.value("[given_up, tickets]")
        balancer.nodes[await balancer.holder()].process.send_signal(signal.SIGTERM)
        await tab.sees(f"tickets > {tickets} && feeds.at(-1).live", "feeds.map(shown)")
        assert await tab.value("given_up") > given_up
    finally:
        publishing.cancel()
        await asyncio.wait([publishing])
    steps = [str(event.id) for event in await events_of(client, "orders") if event.key == "7"]
    await tab.sees(f"got.at(-1) === '{steps[-1]}'", "got")
    assert await tab.value("got") == steps  # all of them, in order, and each one once
