"""Publishing over HTTP: a real process that is killed, real rights, and bodies of any kind."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from broadcaster import EmbeddedRedis
from tests.clients.browsers import Browser
from tests.clients.switch import Switch
from tests.command_line import Running as Command
from tests.command_line import ready, starting
from tests.nodes import Raw, running, told
from tests.wait import PATIENCE_S, http_client, until
from tests.web.tokens.issuers import SECRET, token

ORDERS = "/v1/channels/orders/events"
EVENT = b'{"type":"paid","key":"7","data":{"total":49.50}}'
RIGHTS = ("publish", "subscribe")
OPERATIONS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")


def headers(**more: str) -> dict[str, str]:
    mine = token(sub="shop", broadcaster={right: ["orders", "inventory"] for right in RIGHTS})
    return {"authorization": f"Bearer {mine}", "content-type": "application/json", **more}


@asynccontextmanager
async def withholding(port: int) -> AsyncIterator[tuple[int, asyncio.Event]]:
    """Passes bytes on to a server. While the event is not set, no reply comes back."""
    tasks, passes = set[asyncio.Task[None]](), asyncio.Event()
    passes.set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        replies, requests = await asyncio.open_connection("127.0.0.1", port)
        up = asyncio.create_task(copy(reader, requests, None))
        try:
            await copy(replies, writer, passes)
        finally:
            up.cancel()
            for one in (writer, requests):
                one.close()

    async def copy(
        source: asyncio.StreamReader, target: asyncio.StreamWriter, gate: asyncio.Event | None
    ) -> None:
        while data := await source.read(65536):
            if gate:
                await gate.wait()
            target.write(data)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], passes
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def doomed(redis_server: EmbeddedRedis, **env: str) -> AsyncIterator[Doomed]:
    """A node in a process of its own that can be killed when it has published, and not answered."""
    async with withholding(redis_server.port) as (port, passes), starting() as start:
        found = {
            "BROADCASTER_REDIS_URL": f"redis://127.0.0.1:{port}",
            "BROADCASTER_TOKEN_SECRETS": json.dumps([SECRET]),
        }
        node = await start("serve", "--port", "0", env=found | env)
        url = await node.url()
        await ready(url)
        yield Doomed(node, url, passes)


class Doomed(NamedTuple):
    """The node, and whether it gets the replies of Redis."""

    process: Command
    url: str
    passes: asyncio.Event


async def test_an_event_is_seen_once_though_its_node_is_killed_before_the_answer(
    redis_server: EmbeddedRedis, redis_url: str, client: Any
) -> None:
    key = headers(**{"idempotency-key": "order-7-paid"})
    async with (
        running(redis_url, token_secrets=[SECRET]) as other,
        doomed(redis_server) as node,
        http_client() as http,
    ):
        bearer = f"Authorization: {key['authorization']}\r\n"
        reader = await Raw.get(other.port, "/v1/orders/7/status/stream", bearer)
        await reader.until(b"stream.live")
        warm = await http.post(f"{node.url}{ORDERS}", content=EVENT, headers=headers())
        assert warm.status_code == 200
        node.passes.clear()
        lost = asyncio.create_task(http.post(f"{node.url}{ORDERS}", content=EVENT, headers=key))
        await until(lambda: _has(client, 2))
        await node.process.stop(signal.SIGKILL)
        assert isinstance((await asyncio.gather(lost, return_exceptions=True))[0], httpx.HTTPError)
        again = await http.post(f"{other.url}{ORDERS}", content=EVENT, headers=key)
        reused = await http.post(f"{other.url}{ORDERS}", content=b'{"data":1}', headers=key)
        end = b'{"key":"7","data":"the last"}'
        assert (await http.post(f"{other.url}{ORDERS}", content=end, headers=headers())).is_success
        await reader.until(b"the last")
    stored = [id_.decode() for id_, _ in await client.xrange("orders")]
    assert again.json() == {"ids": [stored[1]]}
    assert reused.status_code == 422
    assert len(stored) == 3
    assert told(reader.body) == ['{"total":49.50}'] * 2 + ["the last"]


# Shows each event as a line of the page.
_SHOW = """(url) => {
  document.body.replaceChildren();
  const source = new EventSource(url);
  const show = (event) => document.body.append(event.type, " ", event.data, "\\n");
  source.onmessage = show;
  source.addEventListener("paid", show);
  source.addEventListener("stream.live", () => { window.live = true; });
}"""


# In one browser: what differs between them is tested elsewhere.
@pytest.mark.parametrize("browser", ["chromium"], indirect=True)
async def test_a_browser_shows_once_what_curl_sends_twice_through_two_nodes(
    browser: Browser, redis_server: EmbeddedRedis, redis_url: str, client: Any
) -> None:
    orders = {"path": "/v1/orders/{key}/status/stream", "access": "public"}
    channels: Any = {"orders": orders}
    async with (
        running(redis_url, token_secrets=[SECRET], channels=channels) as other,
        doomed(redis_server, BROADCASTER_CHANNELS=json.dumps(channels)) as node,
        Switch() as balancer,
    ):
        balancer.target = int(node.url.rpartition(":")[2])
        tab = await browser.tab()
        page = f"http://127.0.0.1:{balancer.port}"
        await tab.open(f"{page}/healthz")
        await tab.run(_SHOW, f"{page}/v1/orders/7/status/stream")
        await tab.sees("window.live")
        assert (await curl(node.url, '{"key":"7","data":"the first"}'))[0] == 0
        await tab.sees("document.body.textContent.includes('the first')")
        node.passes.clear()
        lost = asyncio.create_task(curl(node.url, EVENT.decode(), "order-7-paid"))
        await until(lambda: _has(client, 2))
        balancer.target = other.port
        await node.process.stop(signal.SIGKILL)
        status, _ = await lost
        assert status != 0
        again = [await curl(other.url, EVENT.decode(), "order-7-paid") for _ in range(2)]
        assert (await curl(other.url, '{"key":"7","data":"the last"}'))[0] == 0
        await tab.sees("document.body.textContent.includes('the last')")
        shown = await tab.value("document.body.textContent.split('\\n').slice(0, -1)")
    stored = [id_.decode() for id_, _ in await client.xrange("orders")]
    assert again == [(0, json.dumps({"ids": [stored[1]]}, separators=(",", ":")))] * 2
    assert shown == ["message the first", 'paid {"total":49.50}', "message the last"]


async def curl(url: str, event: str, key: str = "") -> tuple[int, str]:
    """Publish an event with curl. Return its exit status, and the answer."""
    found = headers(**({"idempotency-key": key} if key else {}))
    options = [part for name, value in found.items() for part in ("--header", f"{name}: {value}")]
    command = ["curl", "--silent", "--fail-with-body", *options, "--data", event, url + ORDERS]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    answer, _ = await process.communicate()
    return process.returncode or 0, answer.decode()


async def _has(client: Any, count: int) -> bool:
    return bool(await client.xlen("orders") == count)


async def test_a_node_that_publishes_needs_no_more_rights_than_the_page_says(
    redis_server: EmbeddedRedis, redis_url: str, client: Any
) -> None:
    (of_node,) = re.findall(r"^ACL SETUSER node (.*\n(?: +.*\n)+)", OPERATIONS, re.MULTILINE)
    _, _, section = OPERATIONS.partition("[publish](http.md#publishing) through needs")
    more = section.split("```")[1].removeprefix("text")
    rules = [*of_node.split(), *more.split()]
    await client.execute_command("ACL", "SETUSER", "publishing-node", *rules)
    url = f"redis://publishing-node:secret@127.0.0.1:{redis_server.port}"
    try:
        async with (
            running(url, token_secrets=[SECRET]) as hub,
            http_client(base_url=hub.url) as http,
        ):
            for key in ({}, {"idempotency-key": "k"}, {"idempotency-key": "k"}):
                for channel in ("orders", "inventory"):
                    path = f"/v1/channels/{channel}/events"
                    answer = await http.post(path, content=EVENT, headers=headers(**key))
                    assert answer.status_code == 200, answer.text
    finally:
        await client.execute_command("ACL", "DELUSER", "publishing-node")


TYPES = ("application/json", "application/cloudevents+json", "application/x-ndjson", "text/plain")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
FIELDS = st.sampled_from(["type", "key", "data", "id", "specversion", "source", "subject"])
EVENTS = st.dictionaries(FIELDS, VALUES, max_size=7)
BODIES = st.binary(max_size=200) | (EVENTS | st.lists(EVENTS, max_size=3) | VALUES).map(
    lambda value: json.dumps(value).encode()
)


async def test_no_body_is_answered_with_an_error_of_ours(redis_url: str) -> None:
    async with running(redis_url, token_secrets=[SECRET]) as hub:
        loop, posted = asyncio.get_running_loop(), list[int]()

        @hypothesis_settings(max_examples=300, deadline=None)
        @given(BODIES, st.sampled_from(TYPES), st.text("k é", max_size=3))
        def publish(body: bytes, media_type: str, key: str) -> None:
            sent = headers(**{"content-type": media_type})
            pairs = [(name.encode(), value.encode()) for name, value in sent.items()]
            if key:
                pairs.append((b"idempotency-key", f"k{key}k".encode()))
            with httpx.Client(base_url=hub.url, timeout=PATIENCE_S) as http:
                answer = http.post(ORDERS, content=body, headers=pairs)
            assert answer.status_code in (200, 400, 403, 413, 415, 422), answer.text
            posted.append(answer.status_code)

        await loop.run_in_executor(None, publish)
    assert {200, 400, 415, 422} <= set(posted)
