"""The deployed configurations under real HAProxy and nginx, on free ports, before real nodes."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import re
import shutil
import socket
import struct
import urllib.request
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from broadcaster.backend.embedded import free_port
from tests.command_line import Running, Start, ready
from tests.deploy.stack import ROOT
from tests.nodes import Running as Hub
from tests.nodes import running
from tests.wait import PATIENCE_S, http_client, until

DEPLOY = ROOT / "deploy"
ADDRESSES = ("127.0.0.2", "127.0.0.3")
_LIVE = re.compile(r'^broadcaster_connections\{.*state="live".*\} (\S+)$', re.MULTILINE)


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


async def _never_started(number: int, **changed: Any) -> None:
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
        hubs: the nodes that run in this process.
        nodes: those that are processes; a test may end them.
        start_node: runs a process as the node of a number, in the place of one that is gone. It
            has the settings of the first ones, but for those that are given.
    """

    name: str
    directory: Path
    changes: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    node_port: int = field(default_factory=free_port)
    statistics_port: int = field(default_factory=free_port)
    resolver: Resolver = field(default_factory=Resolver)
    hubs: list[Hub] = field(default_factory=list)
    nodes: dict[int, Running] = field(default_factory=dict)
    start_node: Callable[..., Awaitable[None]] = _never_started

    async def run_nodes(self, stack: AsyncExitStack, redis_url: str, **settings: Any) -> None:
        """Run two real nodes in this process, until the stack is left."""
        for address in ADDRESSES:
            node = running(redis_url, host=address, port=self.node_port, **settings)
            self.hubs.append(await stack.enter_async_context(node))
        self.resolver.addresses = list(ADDRESSES)

    async def start_nodes(self, start: Start, redis_url: str, **settings: Any) -> None:
        """Run two real nodes as processes."""

        async def start_node(number: int, **changed: Any) -> None:
            given = {**settings, **changed}.items()
            env = {f"BROADCASTER_{name.upper()}": json.dumps(value) for name, value in given}
            arguments = ("--host", ADDRESSES[number], "--port", str(self.node_port))
            node = await start("serve", "--redis-url", redis_url, *arguments, env=env)
            self.nodes[number] = node
            await ready(self.node_url(number))

        self.start_node = start_node
        await self.start_again()
        self.resolver.addresses = list(ADDRESSES)

    async def start_again(self) -> None:
        """Run two processes in the place of two that are gone."""
        await asyncio.gather(*map(self.start_node, range(len(ADDRESSES))))

    def node_url(self, number: int) -> str:
        """The address of a node, past the balancer."""
        return f"http://{ADDRESSES[number]}:{self.node_port}"

    def opened(self) -> int:
        """Return how many event streams the nodes in this process have opened."""
        return sum(hub.node.meters.opened.total() for hub in self.hubs)

    async def holder(self) -> int:
        """Wait until one process alone has live clients, and return its number."""
        (number,) = await until(self._holders)
        return number

    async def _holders(self) -> list[int]:
        found = list[int]()
        async with http_client() as http:
            for number, node in self.nodes.items():
                if node.process.returncode is None:
                    with suppress(httpx.TransportError):
                        text = (await http.get(self.node_url(number) + "/metrics")).text
                        found += [number] * (float(_LIVE.findall(text)[0]) > 0)
        return found if len(found) == 1 else []

    def _command(self) -> list[str]:
        program = executable(self.name)
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
                ports = [self.port] + [self.statistics_port] * (self.name == "haproxy")
                await until(lambda: all(map(listens, ports)))
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
        nodes = [row for row in self._statistics() if row["svname"].startswith("node")]
        return sum(row["status"] == "UP" and row["check_status"] == "L7OK" for row in nodes)

    def _statistics(self) -> list[dict[str, str]]:
        """Return what HAProxy counts of the nodes."""
        url = f"http://127.0.0.1:{self.statistics_port}/;csv"
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as response:
            page = response.read().decode()
        rows = csv.DictReader(page.removeprefix("# ").splitlines())
        return [row for row in rows if row["pxname"] == "nodes"]


def listens(port: int) -> bool:
    """Return True if a server listens on this port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def executable(name: str) -> str:
    """Return the path of a program, as a shell of root would find it."""
    return shutil.which(name) or f"/usr/sbin/{name}"


def missing(name: str) -> bool:
    """Return True if a program is not installed."""
    return not Path(executable(name)).exists()
