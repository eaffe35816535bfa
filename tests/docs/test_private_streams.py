"""The examples of *Private streams* that need more than commands: nginx, and a browser."""

from __future__ import annotations

import asyncio
import shutil
import sys

import pytest

from broadcaster import Publisher
from tests.clients.browsers import Browser
from tests.docs.terminal import Terminal, file_of
from tests.nodes import events
from tests.wait import http_client

PAGE = "docs/private-streams.md"


@pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx on the PATH")
async def test_nginx_asks_the_service_and_the_policy_decides(
    terminal: Terminal, publisher: Publisher
) -> None:
    for name in ("behind_nginx.py", "service.py", "nginx.conf"):
        terminal.write(name, file_of(PAGE, name))
    for port, app in ((8001, "behind_nginx"), (8002, "service")):
        await terminal.until_up(await terminal.start(f"uvicorn {app}:app --port {port}", []))
    here = terminal.directory
    nginx = f"nginx -p {here} -e {here}/error.log -c {here}/nginx.conf"
    await terminal.until_up(await terminal.start(nginx, []), 8003)
    for key in ("7", "8"):
        await publisher.publish("orders", type="complete", key=key, data=f"of {key}")
    ann = {"cookie": "session=session-of-ann"}
    async with http_client(base_url=terminal.ours("http://127.0.0.1:8003")) as client:
        order = "/v1/orders/{}/status/stream".format
        assert (await client.get(order(7))).status_code == 401
        assert (await client.get(order(7), headers={"x-user": "ann"})).status_code == 401
        assert (await client.get(order(8), headers=ann)).status_code == 403
        assert (await client.get(order(8), headers=ann | {"x-user": "bob"})).status_code == 403
        both = "/v1/events?channel=orders&key=7&key=8"
        assert (await client.get(both, headers=ann)).status_code == 403
        mine = await client.get(order(7), headers=ann)
        assert [e.data for e in events(mine.content) if e.event == "complete"] == ["of 7"]
        past = terminal.ours("http://127.0.0.1:8001") + order(7)
        assert (await client.get(past, headers={"x-user": "ann"})).status_code == 403
        await terminal.commands[1].stop()
        away = await client.get(order(7), headers=ann)
        assert (away.status_code, away.headers["content-type"]) == (200, "text/event-stream")
        assert "retry: 5000\n" in away.text


async def test_a_page_of_another_origin_follows_with_a_ticket_and_outlives_its_node(
    terminal: Terminal, publisher: Publisher, browser: Browser
) -> None:
    for name in ("hub.toml", "secret", "issue.py", "orders.html"):
        terminal.write(name, file_of(PAGE, name))
    here = terminal.ours("http://localhost:8003")
    port = here.rpartition(":")[2]
    await terminal.until_up(
        await terminal.start(f"{sys.executable} -m http.server --bind 127.0.0.1 {port}", []), 8003
    )
    issued = await terminal.start("python issue.py", ["issued"])
    await terminal.check(issued)
    header = await asyncio.to_thread((terminal.directory / "ann.header").read_text)
    tab = await browser.tab()
    await tab.open(f"{here}/orders.html")
    await tab.run("(token) => { follow(token); }", header.split()[-1])
    # The hub is away, and `fetch` of a ticket fails before it succeeds.
    await tab.sees("performance.getEntriesByType('resource').length > 0")
    serve = "broadcaster serve --config hub.toml --port 8002"
    hub = await terminal.start(serve, [])
    await terminal.until_up(hub)
    for key in ("8", "7"):
        await publisher.publish("orders", type="status", key=key, data=f"of {key}")
    await tab.sees("document.querySelectorAll('li').length === 1")
    await hub.stop()
    await publisher.publish("orders", type="status", key="8", data="of 8 again")
    await publisher.publish("orders", type="complete", key="7", data="of 7 again")
    await terminal.until_up(await terminal.start(serve, []))
    await tab.sees("document.querySelectorAll('li').length === 2")
    steps = await tab.value("[...document.querySelectorAll('li')].map((li) => li.textContent)")
    assert steps == ["of 7", "of 7 again"]
