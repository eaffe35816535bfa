"""Pages of other origins: every answer can be read by them, and streams cost what they cost."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from pathlib import Path

import pytest

from tests.command_line import starting
from tests.nodes import running
from tests.wait import http_client

ORIGIN = "https://shop.example"
INVENTORY = "/v1/inventory/stream"
ALLOWED = "access-control-allow-origin"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/readyz", 200),
        ("GET", "/v1/channels", 200),
        ("GET", "/v1/channels/nope", 404),
        ("GET", "/nowhere", 404),
        ("POST", "/readyz", 405),
        ("POST", INVENTORY, 405),
        ("HEAD", INVENTORY, 200),
        ("GET", f"{INVENTORY}?from=x", 400),
        ("GET", "/v1/events?channel=nope", 404),
        ("GET", f"{INVENTORY}?shed", 200),
    ],
)
async def test_every_answer_can_be_read_by_the_configured_origins(
    redis_url: str, method: str, path: str, status: int
) -> None:
    async with (
        running(redis_url, cors_origins=(ORIGIN,), cors_credentials=True) as hub,
        http_client(base_url=hub.url) as browser,
    ):
        if "shed" in path:
            hub.node.draining = True
        for origin in (ORIGIN, "https://evil.example"):
            answer = await browser.request(method, path, headers={"origin": origin})
            assert answer.status_code == status
            assert answer.headers.get(ALLOWED) == (ORIGIN if origin == ORIGIN else None)
            assert answer.headers["vary"] == "Origin"


async def test_a_preflight_opens_nothing(redis_url: str) -> None:
    asks = {"origin": ORIGIN, "access-control-request-method": "GET"}
    async with (
        running(redis_url, cors_origins=(ORIGIN,)) as hub,
        http_client(base_url=hub.url) as browser,
    ):
        yes = await browser.options(INVENTORY, headers=asks)
        no = await browser.options(INVENTORY, headers=asks | {"origin": "https://evil.example"})
        assert (yes.status_code, yes.headers[ALLOWED]) == (200, ORIGIN)
        assert (no.status_code, no.headers.get(ALLOWED)) == (400, None)
        assert not hub.node.meters.opened.total()


async def test_a_client_costs_the_same_with_configured_origins(redis_url: str) -> None:
    """Of two nodes, one after the other in one run, so that all else is equal."""
    clients, grown = 600, []
    async with starting() as start:
        for origins in ("[]", f'["{ORIGIN}"]'):
            env = {"BROADCASTER_CORS_ORIGINS": origins, "BROADCASTER_ACCESS_LOG": "false"}
            node = await start("serve", "--redis-url", redis_url, "--port", "0", env=env)
            url = await node.url()
            with contextlib.ExitStack() as stack:
                await asyncio.to_thread(opened, url, 50, stack)  # loads what the first one loads
                before = memory_kb(node.process.pid)
                await asyncio.to_thread(opened, url, clients, stack)
                grown.append((memory_kb(node.process.pid) - before) / clients)
                async with http_client() as http:
                    metrics = (await http.get(f"{url}/metrics")).text
                assert re.search(
                    rf'opened_total{{.*sink="transport".*}} {clients + 50}\.0', metrics
                )
    assert 0.88 < grown[1] / grown[0] < 1.12, grown


def opened(url: str, clients: int, stack: contextlib.ExitStack) -> None:
    """Open streams, and wait until each is live."""
    address = ("127.0.0.1", int(url.rsplit(":", 1)[1]))
    request = f"GET {INVENTORY} HTTP/1.1\r\nHost: localhost\r\nOrigin: {ORIGIN}\r\n\r\n".encode()
    for _ in range(clients):
        client = stack.enter_context(socket.create_connection(address, 20.0))
        client.sendall(request)
        received = b""
        while b"stream.live" not in received:
            received += client.recv(4096)


def memory_kb(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise AssertionError("the kernel tells no memory")
