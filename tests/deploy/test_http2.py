"""Balancers that speak HTTP/2 with clients, where one connection carries many event streams."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import RstStreamFrame

from broadcaster import Publisher
from broadcaster.node import registry
from tests.deploy.balancers import Balancer
from tests.deploy.conftest import Balance
from tests.wait import http_client, until

INVENTORY = "/v1/inventory/stream"


def certificate(directory: Path) -> Path:
    """Make a file with a certificate and its key."""
    key, signed = directory / "key.pem", directory / "cert.pem"
    options = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command = ["openssl", "req", *options, "-keyout", str(key), "-out", str(signed)]
    subprocess.run(command, check=True, capture_output=True)
    both = directory / "both.pem"
    both.write_text(signed.read_text() + key.read_text())
    return both


Secured = Callable[..., Awaitable[tuple[Balancer, ssl.SSLContext]]]


@pytest.fixture
def secured(balance: Balance, tmp_path: Path) -> Secured:
    """Starts a balancer with a certificate, and returns what a client trusts."""

    async def started(**settings: Any) -> tuple[Balancer, ssl.SSLContext]:
        both = certificate(tmp_path)
        (tmp_path / "tls.conf").write_text(f"ssl_certificate {both}; ssl_certificate_key {both};")
        changes: dict[str, Any] = {
            "haproxy": {"TLS": "yes", "CERTIFICATE": str(both)},
            "nginx": {" backlog=4096;": " backlog=4096 ssl http2;"},
        }
        balancer = await balance(changes, **settings)
        trusted = ssl.create_default_context(cafile=str(both))
        trusted.check_hostname = False
        return balancer, trusted

    return started


async def test_an_event_stream_over_http2(secured: Secured, publisher: Publisher) -> None:
    balancer, trusted = await secured()
    url = f"https://127.0.0.1:{balancer.port}{INVENTORY}"
    async with (
        http_client(http2=True, verify=trusted) as client,
        client.stream("GET", url) as response,
    ):
        assert (response.status_code, response.http_version) == (200, "HTTP/2")
        lines = response.aiter_lines()
        while await anext(lines) != "event: stream.live":
            pass
        await publisher.publish("inventory", data="over HTTP/2")
        while await anext(lines) != "data: over HTTP/2":
            pass


class Page:
    """Opens event streams from one address, all over one connection of HTTP/2."""

    def __init__(self, client: httpx.AsyncClient, stack: AsyncExitStack) -> None:
        self._client, self._stack = client, stack
        self._reading: list[AsyncIterator[str]] = []  # an iterator that is dropped ends its stream
        self.responses: list[httpx.Response] = []

    @property
    def connections(self) -> set[Any]:
        """The client's ends of all connections that were used."""
        streams = (one.extensions["network_stream"] for one in self.responses)
        return {stream.get_extra_info("client_addr") for stream in streams}

    async def leaves(self, number: int) -> None:
        """End one of the streams, and not the connection. httpx itself says nothing of an end."""
        extensions = self.responses[number].extensions
        frame = RstStreamFrame(extensions["stream_id"], error_code=ErrorCodes.CANCEL)
        await extensions["network_stream"].write(frame.serialize())

    async def lives(self, **headers: str) -> bool:
        """Open a stream, and return True if it is served; False if it is told to come back."""
        opening = self._client.stream("GET", INVENTORY, headers=headers)
        response = await self._stack.enter_async_context(opening)
        self.responses.append(response)
        assert (response.status_code, response.http_version) == (200, "HTTP/2")
        lines, got = response.aiter_lines(), list[str]()
        self._reading.append(lines)
        async for line in lines:
            got.append(line)
            if line == "event: stream.live":
                return True
        assert any(line.startswith("retry: ") for line in got), got
        return False


async def test_the_streams_of_an_address_are_counted_not_its_connections(
    secured: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "ANNOUNCE_S", 0.05)
    balancer, trusted = await secured(max_connections_per_address=3)
    places = [hub.node.limits.places["address"] for hub in balancer.hubs]
    async with AsyncExitStack() as stack:

        async def page(address: str) -> Page:
            transport = httpx.AsyncHTTPTransport(
                http2=True, verify=trusted, local_address=address, trust_env=False
            )
            base_url = f"https://127.0.0.1:{balancer.port}"
            client = http_client(transport=transport, base_url=base_url)
            return Page(await stack.enter_async_context(client), stack)

        first, second = await page("127.0.0.8"), await page("127.0.0.9")
        assert [await first.lives() for _ in range(3)] == [True] * 3
        await until(lambda: all(of_node.full("127.0.0.8") for of_node in places))
        assert not await first.lives()
        assert not await first.lives(**{"X-Forwarded-For": "127.0.0.7"})
        assert [await second.lives() for _ in range(3)] == [True] * 3
        assert sum(hub.node.meters.shed["address"] for hub in balancer.hubs) == 2

        await first.leaves(0)
        await until(lambda: not any(of_node.full("127.0.0.8") for of_node in places))
        assert await first.lives()
        assert [len(one.connections) for one in (first, second)] == [1, 1]
