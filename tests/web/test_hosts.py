"""Which host names are answered to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from broadcaster.backend.memory import MemoryLog
from broadcaster.settings import Settings
from broadcaster.web.hosts import LOOPBACK, Hosts, with_default_hosts
from tests.command_line import Start, ready, starting
from tests.nodes import running
from tests.wait import http_client

STREAM = "/v1/inventory/stream"


def scope(*hosts: bytes, version: str = "1.1") -> dict[str, Any]:
    return {"headers": [(b"host", host) for host in hosts], "http_version": version}


OURS = [
    b"localhost", b"localhost:8000", b"LOCALHOST:8000", b"localhost.", b"localhost.:8000",
    b"127.0.0.1", b"127.0.0.1:8000", b"127.9.8.7:80", b"[::1]", b"[::1]:8000", b"app.localhost:1",
    b"localhost:",
]  # fmt: skip
FOREIGN = [
    b"evil.example", b"evil.example:8000", b"127.0.0.1.evil.example", b"localhost.evil.example",
    b"evil", b"10.0.0.7:8000", b"", b":8000", b"[::2]", b"127.evil", b"notlocalhost", b"0.0.0.0",
    b"127.0.0.1@evil.example", b"localhost:80:80", b"localhost, evil.example", b"\xff",
]  # fmt: skip


@pytest.mark.parametrize("host", OURS)
def test_names_of_this_machine(host: bytes) -> None:
    assert Hosts(LOOPBACK).refusal(scope(host)) is None


@pytest.mark.parametrize("host", FOREIGN)
def test_other_names(host: bytes) -> None:
    refused = Hosts(LOOPBACK).refusal(scope(host))
    assert refused
    assert refused[0] == 421
    assert Hosts(()).refusal(scope(host)) is Hosts(("*",)).refusal(scope(host)) is None


def test_configured_names() -> None:
    hosts = Hosts(("Events.example", "*.shop.example"))
    for ours in (b"events.example:443", b"EVENTS.example", b"a.shop.example", b"a.b.shop.example."):
        assert hosts.refusal(scope(ours)) is None
    for other in (b"localhost", b"shop.example", b"evilshop.example", b"127.0.0.1"):
        assert hosts.refusal(scope(other))


def test_no_host_and_several() -> None:
    for hosts in (Hosts(LOOPBACK), Hosts(())):
        refused = hosts.refusal(scope(b"localhost", b"localhost"))
        assert refused
        assert refused[0] == 400
        assert hosts.refusal(scope(version="1.0")) is None
    assert Hosts(()).refusal(scope()) is None
    refused = Hosts(LOOPBACK).refusal(scope())
    assert refused
    assert refused[0] == 400


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.0.0.2", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.7", False),
        ("events.example", False),
    ],
)
def test_the_default_depends_on_the_address(host: str, local: bool) -> None:
    settings = with_default_hosts(Settings(host=host))
    assert settings.allowed_hosts == (LOOPBACK if local else ())
    set_ = Settings(host=host, allowed_hosts=("a.example",))
    assert with_default_hosts(set_) is set_


async def status(port: int, path: str, *lines: str, target: str = "") -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = "".join(f"{line}\r\n" for line in ("Connection: close", *lines))
    writer.write(f"GET {target}{path} HTTP/1.1\r\n{head}\r\n".encode("latin-1"))
    answer = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return int(answer.split()[1])


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts commands; all end with the test."""
    async with starting() as start:
        yield start


async def test_a_node_that_only_this_machine_reaches_answers_no_other_site(
    start: Start, redis_url: str
) -> None:
    node = await start("serve", "--redis-url", redis_url, "--port", "0")
    url = await node.url()
    await ready(url)
    port = int(url.rpartition(":")[2])
    evil = "Host: evil.example"
    for path in (STREAM, "/", "/v1/channels", "/metrics", "/nowhere"):
        assert await status(port, path, evil) == 421
        assert await status(port, path, evil, f"X-Forwarded-Host: localhost:{port}") == 421
        assert await status(port, path, f"Host: localhost:{port}") in (200, 404)
    for path in ("/healthz", "/readyz"):
        assert await status(port, path, evil) == 200
    assert await status(port, STREAM, "Host: localhost", evil) == 400
    assert await status(port, STREAM) == 400
    assert await status(port, STREAM, "Host: localhost", target="http://evil.example:80") == 421
    assert await status(port, STREAM, evil, target="http://localhost:80") == 200
    async with http_client() as http:
        asks = {"origin": "http://evil.example", "access-control-request-method": "GET"}
        answer = await http.options(url + STREAM, headers=asks | {"host": "evil.example"})
    assert answer.status_code == 421
    assert answer.headers["content-type"] == "application/problem+json"


async def test_processes_that_other_machines_reach_answer_to_every_name(
    start: Start, redis_url: str
) -> None:
    place = ("--host", "0.0.0.0", "--port", "0")
    node = await start("serve", "--redis-url", redis_url, *place, "--workers", "2")
    url = await node.url()
    await ready(url)
    assert await status(int(url.rpartition(":")[2]), STREAM, "Host: hub.example") == 200


MALFORMED = [
    "/metrics?",
    "x/../metrics#",
    "a b",
    "[::1",
    "x@y/healthz?",
    "\xff",
    "%2F",
    "[]:x",
    ":",
]


@pytest.mark.server
@pytest.mark.parametrize("host", MALFORMED)
async def test_a_malformed_host_changes_no_decision(host: str) -> None:
    """No route and no right is found by a url that is made of `Host`."""
    given: dict[str, Any] = {"token_secrets": ["s" * 32], "operators_token": "of operators"}
    doors = {STREAM: 401, "/v1/channels": 200, "/metrics": 401, "/healthz": 200, "/nowhere": 404}
    async with running("", log=MemoryLog(), **given) as hub:
        found = {path: await status(hub.port, path, f"Host: {host}") for path in doors}
    assert found in (doors, dict.fromkeys(doors, 400))


async def test_operators_port_is_asked_by_address(redis_url: str) -> None:
    async with running(redis_url, two_ports=True, allowed_hosts=("events.example",)) as hub:
        operators = int(hub.operators_url.rpartition(":")[2])
        assert await status(operators, "/metrics", "Host: 10.0.0.7:9000") == 200
        assert await status(hub.port, STREAM, "Host: 10.0.0.7:8000") == 421
        assert await status(hub.port, STREAM, "Host: events.example") == 200
        assert await status(hub.port, "/readyz", "Host: 10.0.0.7:8000") == 200
    async with running(redis_url, two_ports=True, allowed_hosts=LOOPBACK) as hub:
        operators = int(hub.operators_url.rpartition(":")[2])
        assert await status(operators, "/metrics", "Host: evil.example") == 421
        assert await status(operators, "/metrics", "Host: 127.0.0.1") == 200
