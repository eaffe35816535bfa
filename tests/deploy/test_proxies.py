"""Balancers with the deployed files do no harm to event streams."""

from __future__ import annotations

import asyncio
import os
import re
import statistics
import time
from typing import Any

import pytest

from broadcaster import EmbeddedRedis, Publisher
from broadcaster.web.publishing import lines
from tests.clients.browsers import Browser, Tab
from tests.deploy.balancers import ADDRESSES, Balancer
from tests.deploy.conftest import Balance
from tests.nodes import Raw
from tests.wait import PATIENCE_S, TEST_S, allowed_s, http_client, until
from tests.web.tokens.issuers import SECRET, token

INVENTORY = "/v1/inventory/stream"
ORDER = "/v1/orders/7/status/stream"
LIVE = b"stream.live"
# The whole proof takes 300 s, at the deployed heartbeat and timeouts: QUIET_S=300.
QUIET_S = float(os.environ.get("QUIET_S", "0"))


@pytest.fixture
async def balancer(balance: Balance) -> Balancer:
    """One with two nodes, as deployed."""
    return await balance()


async def test_the_first_byte_of_a_quiet_stream_comes_at_once(balancer: Balancer) -> None:
    took_s = []
    for _ in range(9):
        began_s = time.monotonic()
        stream = await Raw.get(balancer.port, INVENTORY)
        await stream.until(b"retry: ")
        took_s.append(time.monotonic() - began_s)
        assert b" 200 OK" in stream.head
        stream.close()
    assert statistics.median(took_s) <= allowed_s(0.1)


@pytest.mark.timeout(QUIET_S + TEST_S)
async def test_a_quiet_stream_is_not_dropped(balance: Balance, publisher: Publisher) -> None:
    short: dict[str, Any] = {
        "haproxy": {"STREAM_TIMEOUT": "2s"},
        "nginx": {"proxy_read_timeout 60s": "proxy_read_timeout 2s"},
    }
    balancer = await (balance() if QUIET_S else balance(short, heartbeat_s=0.5))
    streams = [await Raw.get(balancer.port, path) for path in (INVENTORY, f"{INVENTORY}?petId=7")]
    ends_s = time.monotonic() + (QUIET_S or 5.0)
    reading = [
        asyncio.create_task(s.until(b"data: at last", QUIET_S + PATIENCE_S)) for s in streams
    ]
    await until(
        lambda: time.monotonic() > ends_s or any(r.done() for r in reading), QUIET_S + PATIENCE_S
    )
    assert not any(task.done() for task in reading)
    await publisher.publish("inventory", key="7", data="at last")
    for body in await asyncio.gather(*reading):
        assert body.count(b"\n:") + body.count(b"\nid: ") > 5


@pytest.mark.alone
async def test_it_adds_less_than_20_ms(balancer: Balancer, publisher: Publisher) -> None:
    direct = Raw(*await asyncio.open_connection(ADDRESSES[0], balancer.node_port))
    direct.writer.write(f"GET {INVENTORY} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    direct.head = await direct.reader.readuntil(b"\r\n\r\n")
    through = await Raw.get(balancer.port, INVENTORY)
    await asyncio.gather(direct.until(LIVE), through.until(LIVE))

    async def arrival(stream: Raw, text: bytes) -> float:
        await stream.until(text)
        return time.monotonic()

    added_s = []
    for number in range(300):
        text = f"data: {number}\n\n".encode()
        arrivals = asyncio.gather(arrival(direct, text), arrival(through, text))
        await publisher.publish("inventory", data=str(number))
        at_once_s, later_s = await arrivals
        added_s.append(later_s - at_once_s)
    p99_s = statistics.quantiles(added_s, n=100)[98]
    print(f"{balancer.name} adds {p99_s * 1000:.1f} ms at p99")  # noqa: T201
    assert p99_s < allowed_s(0.02)


async def test_without_a_node_clients_get_a_retry_time(balance: Balance) -> None:
    balancer = await balance(mortal=True)
    for node in balancer.nodes.values():
        node.process.kill()
        await node.ended()

    async def told_so(cursor: str, position: bytes) -> bool:
        stream = await Raw.get(balancer.port, INVENTORY, cursor)
        body = await stream.rest()
        assert stream.head.split()[1] == b"200"
        assert b"content-type: text/event-stream" in stream.head.lower()
        # An event without the client's id would make some clients forget it. An answer that can't
        # have the id is no event.
        event = rb"(%bevent: stream\.at\ndata: {}\n\n)?" % position
        return re.search(rb"\nretry: \d{4}\n%b$" % event, body) is not None

    long = ",".join(f"orders.{shard}=1760000000000-{shard}" for shard in range(300))
    for id_ in ("", "5-0", "orders=5-1,inventory=6-0", long):
        cursor = f"Last-Event-ID: {id_}\r\n" if id_ else ""
        position = f"id: {id_}\n".encode() if id_ else rb"(:\n)?"
        for _ in range(5):  # before the balancer has noticed, and after
            assert await told_so(cursor, position), id_[:50]
    async with http_client(base_url=f"http://127.0.0.1:{balancer.port}") as client:
        assert (await client.get("/readyz")).status_code in (502, 503, 504)
        assert (await client.get("/v1/channels")).status_code in (502, 503, 504)


@pytest.mark.parametrize("away_s", [5.0, 20.0])
async def test_newcomers_are_served_while_redis_is_away(balance: Balance, away_s: float) -> None:
    """Each gets what is in the windows, with and without a cursor, from the first second on."""
    with EmbeddedRedis("--appendonly", "yes", "--appendfsync", "always") as server:
        balancer = await balance(redis=server.url)
        async with Publisher(server.url) as publisher:
            first, last = [await publisher.publish("orders", key="7", data=n) for n in range(2)]
        for _ in range(4):  # both nodes have them
            await (await Raw.get(balancer.port, ORDER)).until(b"data: 1\n\n")
        server.stop()
        began_s = time.monotonic()
        while time.monotonic() - began_s < away_s:
            for headers in ("", f"Last-Event-ID: {first}\r\n"):
                stream = await Raw.get(balancer.port, ORDER, headers)
                assert f"id: {last}\n".encode() in await stream.until(b"data: 1\n\n")
                stream.close()
            await asyncio.sleep(0.2)
        server.start()
        stream = await Raw.get(balancer.port, ORDER, f"Last-Event-ID: {last}\r\n")
        async with Publisher(server.url) as publisher:
            await publisher.publish("orders", key="7", data="back")
        await stream.until(b"data: back\n\n")


ORIGINS = ("https://shop.example", "https://admin.example")
READABLE: dict[str, Any] = {
    "haproxy": {"CORS_ORIGINS": " ".join(ORIGINS), "CLIENT_CONNECTIONS": "20"},
    "nginx": {
        "# https://shop.example $http_origin;": "".join(f"{o} $http_origin;" for o in ORIGINS),
        "limit_conn clients 1000": "limit_conn clients 20",
    },
}


async def test_every_answer_can_be_read_by_the_configured_origins(balance: Balance) -> None:
    """Return the same header once, whether a node answers or the balancer by itself."""
    balancer = await balance(READABLE, mortal=True, cors_origins=ORIGINS)
    await _assert_readable(balancer, INVENTORY, "/metrics", "/readyz", "/v1/channels")
    streams = [await Raw.get(balancer.port, INVENTORY) for _ in range(20)]
    await _assert_readable(balancer, INVENTORY)  # too many connections of one address
    for stream in streams:
        stream.close()
    for node in balancer.nodes.values():
        node.process.kill()
        await node.ended()
    for _ in range(3):  # before the balancer has noticed, and after
        await _assert_readable(balancer, INVENTORY, "/metrics", "/readyz", "/v1/channels")


async def test_a_preflight_is_answered_with_yes_where_no_node_can(balance: Balance) -> None:
    """Else the page never learns the status of the request, and some clients give up for good."""
    balancer = await balance(READABLE, mortal=True, cors_origins=ORIGINS)
    paths = (INVENTORY, "/v1/channels/orders/events", "/v1/runs/7/stop", "/v1/pets/recommendations")
    await _assert_preflights(balancer, *paths)
    if balancer.name == "haproxy":  # nginx refuses such an address before it looks at the path
        streams = [await Raw.get(balancer.port, INVENTORY) for _ in range(20)]
        await _assert_preflights(balancer, INVENTORY, "/v1/pets/recommendations")
        for stream in streams:
            stream.close()
    for node in balancer.nodes.values():
        node.process.kill()
        await node.ended()
    for _ in range(3):  # before the balancer has noticed, and after
        await _assert_preflights(balancer, *paths)
        async with http_client(base_url=f"http://127.0.0.1:{balancer.port}") as client:
            for path in paths[1:]:
                answer = await client.post(path, content=b"{}", headers={"Origin": ORIGINS[0]})
                assert answer.status_code == 503, path
                assert answer.headers["access-control-allow-origin"] == ORIGINS[0], path


async def _assert_preflights(balancer: Balancer, *paths: str) -> None:
    asked = {
        "Accept": "*/*",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "last-event-id",
    }
    async with http_client(base_url=f"http://127.0.0.1:{balancer.port}") as client:
        for path in paths:
            for origin in ORIGINS:
                answer = await client.options(path, headers=asked | {"Origin": origin})
                assert answer.is_success, (path, answer)
                assert answer.headers.get_list("access-control-allow-origin") == [origin], path
                assert "last-event-id" in answer.headers["access-control-allow-headers"].lower()
            other = await client.options(path, headers=asked | {"Origin": "https://evil.example"})
            assert "access-control-allow-origin" not in other.headers, path


async def _assert_readable(balancer: Balancer, *paths: str) -> None:
    for path in paths:
        for origin in (*ORIGINS, "https://evil.example", ""):
            answer = await Raw.get(balancer.port, path, f"Origin: {origin}\r\n" if origin else "")
            answer.close()
            head = answer.head.decode().lower()
            allowed = re.findall(r"\r\naccess-control-allow-origin: (.*?)\r\n", head)
            assert allowed == ([origin] if origin in ORIGINS else []), (path, origin, head)
            assert re.findall(r"\r\nvary: (.*?)\r\n", head) == ["origin"], (path, origin, head)
            assert re.findall(r"\r\nreferrer-policy: (.*?)\r\n", head) == ["no-referrer"], path


@pytest.mark.parametrize("balance", ["nginx"], indirect=True)
async def test_the_refusals_of_nginx_can_be_read_as_far_as_it_has_read(balance: Balance) -> None:
    """It answers 414 before it reads the header Origin. HAProxy's own 400 is a fixed text."""
    balancer = await balance(READABLE, cors_origins=ORIGINS)
    origin = f"Origin: {ORIGINS[0]}\r\n"
    for path, more, status, readable in (
        ("/", f"X: {'x' * 40_000}\r\n", b"400", True),
        ("/", "no header\r\n", b"400", True),
        ("/v1/tickets", "Content-Length: 3000000\r\n", b"413", True),
        (f"/?{'x' * 40_000}", "", b"414", False),
    ):
        answer = await Raw.get(balancer.port, path, origin + more)
        answer.close()
        assert answer.head.split()[1] == status
        head = answer.head.decode().lower()
        assert (f"access-control-allow-origin: {ORIGINS[0]}\r\n" in head) == readable, head
        assert "referrer-policy: no-referrer\r\n" in head


async def test_an_id_of_several_hundred_shards_passes(balancer: Balancer) -> None:
    cursor = ",".join(f"inventory.{n}=1710000000000-{n}" for n in range(600))
    assert len(cursor) > 16_000
    answer = await Raw.get(balancer.port, INVENTORY, f"Last-Event-ID: {cursor}\r\n")
    assert answer.head.split()[1] == b"200"
    await answer.until(LIVE)


async def test_when_a_node_is_killed_the_other_one_is_there(balance: Balance) -> None:
    balancer = await balance(mortal=True)
    streams = [await Raw.get(balancer.port, INVENTORY) for _ in range(10)]
    for stream in streams:
        await stream.until(LIVE)
    balancer.nodes[0].process.kill()
    for _ in range(10):
        stream = await Raw.get(balancer.port, INVENTORY)
        assert stream.head.split()[1] == b"200"
        await stream.until(LIVE)


async def test_a_page_of_another_origin_goes_on_at_the_other_node(
    balance: Balance, blank: Tab, browser: Browser, publisher: Publisher
) -> None:
    balancer = await balance(mortal=True, cors_origins=["*"])
    await blank.run(
        """(url) => {
            window.shown = [];
            const feed = window.feed = new EventSource(url);
            feed.onmessage = (event) => shown.push(event.data);
        }""",
        f"http://127.0.0.1:{balancer.port}{INVENTORY}?from=earliest",
    )
    await publisher.publish("inventory", data="first")
    await blank.sees("shown.length === 1")
    balancer.nodes[0].process.kill()
    await publisher.publish("inventory", data="second")
    await blank.sees("shown.length === 2")
    assert await blank.value("shown") == ["first", "second"]
    assert await browser.faults() == []


async def test_pages_of_another_origin_outlast_nodes_that_are_all_gone(
    balance: Balance, blank: Tab, publisher: Publisher
) -> None:
    """Two event sources: one that was open before, and one that is opened meanwhile."""
    every: dict[str, Any] = {
        "haproxy": {"CORS_ORIGINS": "*"},
        "nginx": {'default "";\n        # https': 'default "*";\n        # https'},
    }
    balancer = await balance(every, mortal=True, cors_origins=["*"])
    await blank.run(
        """(url) => {
            window.shown = [];
            window.feeds = [];
            window.follow = () => {
                const feed = new EventSource(url);
                feed.onmessage = (event) => shown.push(event.data);
                feeds.push(feed);
            };
            follow();
        }""",
        f"http://127.0.0.1:{balancer.port}{INVENTORY}?from=earliest",
    )
    await publisher.publish("inventory", data="first")
    await blank.sees("shown.length === 1")
    for node in balancer.nodes.values():
        node.process.kill()
        await node.ended()
    await blank.run("() => follow()")
    gone_s = time.monotonic()
    await until(lambda: time.monotonic() - gone_s > 9.0)
    assert (
        await blank.value("feeds.some((feed) => feed.readyState === EventSource.CLOSED)") is False
    )
    await balancer.start_again()
    await publisher.publish("inventory", data="second")
    await blank.sees("shown.length === 4")
    assert sorted(await blank.value("shown")) == ["first", "first", "second", "second"]


async def test_lines_are_published_while_they_come(
    balance: Balance, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More lines than a balancer may store. Their answer begins before they end."""
    monkeypatch.setattr(lines, "_ANSWER_BYTES", 0)
    balancer = await balance(token_secrets=[SECRET])
    bearer = token(broadcaster={"publish": ["inventory"]}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", balancer.port)
    writer.write(
        b"POST /v1/channels/inventory/events HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n"
        b"Authorization: Bearer %b\r\n\r\n" % bearer
    )
    line = b'{"data":"%b"}\n' % (b"x" * 500_000)
    for number in range(1, 8):
        writer.write(b"%x\r\n%b\r\n" % (len(line), line))
        await writer.drain()
        async with asyncio.timeout(PATIENCE_S):
            await reader.readuntil(b'{"line":%d,' % number)
    writer.write(b"0\r\n\r\n")
    async with asyncio.timeout(PATIENCE_S):
        await reader.readuntil(b"\r\n0\r\n\r\n")
    writer.close()
    assert await publisher.redis.xlen("inventory") == 7


async def test_operators_routes_are_not_public(balancer: Balancer) -> None:
    metrics = ("/metrics", "/%6detrics", "/metrics/x", "/metrics?a=b")
    for path in (*metrics, "/v1/nodes", "/v1/%6eodes", "/v1/health"):
        answer = await Raw.get(balancer.port, path)
        assert answer.head.split()[1] == b"404", path
        assert b"problem+json" not in answer.head.lower(), path  # which a node's own 404 is


async def test_a_client_that_sends_its_head_slowly_is_cut(balancer: Balancer) -> None:
    began_s = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", balancer.port)
    writer.write(f"GET {INVENTORY} HTTP/1.1\r\nHost: localhost\r\nX-Slow: ".encode())

    async def dribble() -> bool:
        writer.write(b"x")
        try:
            async with asyncio.timeout(0.5):
                await reader.read()
        except TimeoutError:
            return False
        except ConnectionError:
            pass
        return True

    await until(dribble)
    assert 3.0 < time.monotonic() - began_s < allowed_s(8.0)
    writer.close()


async def test_a_connection_that_is_not_used_is_closed_without_an_answer(
    balancer: Balancer,
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", balancer.port)
    async with asyncio.timeout(PATIENCE_S):
        assert await reader.read() == b""
    writer.close()


async def test_one_address_has_a_bound(balance: Balance) -> None:
    few: dict[str, Any] = {
        "haproxy": {"CLIENT_CONNECTIONS": "3"},
        "nginx": {"limit_conn clients 1000": "limit_conn clients 3"},
    }
    balancer = await balance(few)
    for _ in range(3):
        stream = await Raw.get(balancer.port, INVENTORY)
        await stream.until(LIVE)
    stream = await Raw.get(balancer.port, INVENTORY)
    assert stream.head.split()[1] == b"200"
    body = await stream.rest()
    assert b"retry: " in body
    assert b"id: " not in body
