"""The deployed configurations under real HAProxy and nginx, on free ports, before real nodes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import struct
import urllib.request
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from broadcaster.backend.embedded import free_port
from tests.command_line import Running, Start, ready
from tests.deploy.stack import ROOT
from tests.nodes import running
from tests.wait import PATIENCE_S, until

DEPLOY = ROOT / "deploy"
ADDRESSES = ("127.0.0.2", "127.0.0.3")


class Resolver(asyncio.DatagramProtocol):
    """Answers every name with the same addresses, as Docker's does for a scaled service.

    Attributes:
        addresses: which a test may change.
        port: on 127.0.0.1.
    """

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self.port = 0
        self._transport: asyncio.DatagramTransport | None = None

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Resolver]:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=("127.0.0.1", 0)
        )
        self._transport = transport
        self.port = transport.get_extra_info("sockname")[1]
        yield self
        transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer a query: RFC 1035, section 4.1."""
        end = data.index(b"\0", 12) + 5  # the name, its type and class
        question = data[12:end]
        of_type_a = question[-4:-2] == b"\0\1"
        found = self.addresses if of_type_a else []
        header = data[:2] + struct.pack(">HHHHH", 0x8180, 1, len(found), 0, 0)
        answers = [
            b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 1, 4) + socket.inet_aton(address)
            for address in found
        ]
        assert self._transport
        self._transport.sendto(header + question + b"".join(answers), addr)


async def _never_started() -> None:
    raise AssertionError("no nodes were started")


@dataclass
class Balancer:
    """A balancer that runs, and its nodes.

    Attributes:
        name: of the program.
        port: the public one, on 127.0.0.1.
        node_port: the nodes', on `ADDRESSES`.
        statistics_port: HAProxy's own.
        resolver: where HAProxy finds the nodes.
        nodes: those that are processes; a test may end them.
        start_again: runs two further nodes, with the settings of the first.
    """

    name: str
    directory: Path
    changes: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    node_port: int = field(default_factory=free_port)
    statistics_port: int = field(default_factory=free_port)
    resolver: Resolver = field(default_factory=Resolver)
    nodes: list[Running] = field(default_factory=list)
    start_again: Callable[[], Awaitable[None]] = _never_started

    async def run_nodes(self, stack: AsyncExitStack, redis_url: str, **settings: Any) -> None:
        """Run two real nodes in this process, until the stack is left."""
        for address in ADDRESSES:
            node = running(redis_url, host=address, port=self.node_port, **settings)
            await stack.enter_async_context(node)
        self.resolver.addresses = list(ADDRESSES)

    async def start_nodes(self, start: Start, redis_url: str, **settings: Any) -> None:
        """Run two real nodes as processes, also in the place of two that are gone."""
        env = {f"BROADCASTER_{name.upper()}": json.dumps(value) for name, value in settings.items()}
        for address in ADDRESSES:
            arguments = ("--host", address, "--port", str(self.node_port))
            self.nodes.append(await start("serve", "--redis-url", redis_url, *arguments, env=env))
        for address in ADDRESSES:
            await ready(f"http://{address}:{self.node_port}")
        self.resolver.addresses = list(ADDRESSES)

    def _command(self) -> list[str]:
        program = shutil.which(self.name) or f"/usr/sbin/{self.name}"
        if self.name == "haproxy":
            return [program, "-db", "-f", str(DEPLOY / "haproxy.cfg")]
        replaced = {
            **self.changes,
            "listen 8000": f"listen 127.0.0.1:{self.port}",
            "127.0.0.1:8001": f"{ADDRESSES[0]}:{self.node_port}",
            "127.0.0.1:8002": f"{ADDRESSES[1]}:{self.node_port}",
        }
        text = (DEPLOY / "nginx.conf").read_text("utf-8")
        for deployed, ours in replaced.items():
            assert deployed in text, deployed
            text = text.replace(deployed, ours)
        (self.directory / "nginx.conf").write_text(text)
        where = ["-p", str(self.directory), "-c", str(self.directory / "nginx.conf")]
        return [program, *where, "-g", "daemon off;"]

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "NODES": f"node:{self.node_port}",
            "RESOLVER": f"127.0.0.1:{self.resolver.port}",
            "PUBLIC_BIND": f"127.0.0.1:{self.port}",
            "STATS_BIND": f"127.0.0.1:{self.statistics_port}",
            "COME_BACK": str(DEPLOY / "come-back.http"),
            **(self.changes if self.name == "haproxy" else {}),
        }

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Balancer]:
        """Run it until the block is left."""
        async with self.resolver.serving():
            with (self.directory / "log").open("wb") as log:
                process = await asyncio.create_subprocess_exec(
                    *self._command(),
                    env=self._environment(), stdin=DEVNULL, stdout=log, stderr=log,
                )  # fmt: skip
            try:
                await until(lambda: listens(self.port))
                yield self
            finally:
                process.terminate()
                await process.wait()

    async def used(self) -> None:
        """Wait until it passes requests on to all of its nodes."""
        await until(lambda: self._up() == len(self.resolver.addresses))

    def _up(self) -> int:
        if self.name == "nginx":
            return len(self.resolver.addresses)
        url = f"http://127.0.0.1:{self.statistics_port}/;csv"
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as response:
            page = response.read().decode()
        rows = [row.split(",") for row in page.splitlines() if row.startswith("nodes,node")]
        return sum("UP" in row and "L7OK" in row for row in rows)


def listens(port: int) -> bool:
    """Return True if a server listens on this port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def missing(name: str) -> bool:
    """Return True if a program is not installed."""
    return not (shutil.which(name) or Path(f"/usr/sbin/{name}").exists())
