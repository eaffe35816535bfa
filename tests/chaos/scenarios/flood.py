"""One address that floods a node without a balancer: with requests, headers and connections.

Times are compared in a whole run only. In a short one the bounds are shown: bytes that are held,
and connections that stay open.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from tests.chaos.analysis import of_groups, p99_ms
from tests.chaos.history import Subscription
from tests.chaos.processes import Node
from tests.chaos.stage import Stage

_PIPELINED = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 6000  # 250 KB
_HEADER_BYTES = 39_000_000
_HEAD_S = 2.0
_CLOSED_S = 30.0
_HELD_BYTES = 30e6
_HEALTH_MS = 100.0


async def heads(stage: Stage) -> None:
    """Requests behind a stream, a header without an end, and connections without a request."""
    (node,) = await stage.start_nodes(1, head_timeout_s=_HEAD_S)
    await stage.open("quiet", 20, "/a", Subscription(("a",)))
    stage.background(stage.producer().run(20))
    began_s = time.monotonic()
    alone_ms = await _health(stage, node)
    before, hostile_s = node.rss_bytes(), time.monotonic()
    attacks = [
        *(_pipelined(node) for _ in range(60)),
        _long_header(node),
        *(_half_open(node) for _ in range(stage.count(2000, 300))),
    ]
    _, closed, busy_ms = await asyncio.gather(
        asyncio.sleep(stage.size(10.0, 3.0)),
        asyncio.gather(*(_closed(attack) for attack in attacks)),
        _health(stage, node),
    )
    ended_s, grown = time.monotonic(), node.peak_rss_bytes() - before
    await stage.quiet()
    await stage.settle(streams=("a",))
    before_ms, during_ms = (
        p99_ms(stage.recording, stage.ledger, [span], of_groups("quiet"))
        for span in ((began_s, hostile_s), (hostile_s, ended_s))
    )
    stage.show(
        "the node closes all of them", f"{sum(closed)} of {len(closed)}", all(closed), busy=True
    )
    stage.show(
        f"memory: less than {_HELD_BYTES / 1e6:.0f} MB more, ever",
        f"{grown / 1e6:.1f} MB",
        grown < _HELD_BYTES,
    )
    stage.show(
        f"/healthz is answered meanwhile, at the slowest within {_HEALTH_MS:.0f} ms",
        f"{alone_ms:.0f} ms before, {busy_ms:.0f} ms during",
        stage.quick or busy_ms <= _HEALTH_MS,
        busy=True,
    )
    stage.show(
        "p99 of quiet clients: twice as much, or 20 ms",
        f"{before_ms:.1f} ms before, {during_ms:.1f} ms during",
        stage.quick or during_ms <= max(2 * before_ms, 20.0),
        busy=True,
    )
    stage.show_no_reset()


async def _closed(attack: Awaitable[None]) -> bool:
    """Return True if the node has closed the connection of an attack in time."""
    try:
        async with asyncio.timeout(_CLOSED_S):
            await attack
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


async def _sent(node: Node, write: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> None:
    """Connect, write, and read until the node closes the connection."""
    reader, writer = await asyncio.open_connection(*node.target)
    try:
        with suppress(ConnectionError):
            await write(writer)
        while await reader.read(65_536):
            pass
    finally:
        writer.transport.abort()


async def _pipelined(node: Node) -> None:
    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n" + _PIPELINED)
        await writer.drain()

    await _sent(node, write)


async def _long_header(node: Node) -> None:
    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET /a HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
        for _ in range(_HEADER_BYTES // 65_536):
            writer.write(b"x" * 65_536)
            await writer.drain()

    await _sent(node, write)


async def _half_open(node: Node) -> None:
    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET /a HTTP/1.1\r\nHost: loc")

    await _sent(node, write)


async def _health(stage: Stage, node: Node) -> float:
    """Ask for `/healthz` some times. Return how long the slowest answer took, in milliseconds."""
    slowest_s = 0.0
    for _ in range(stage.count(40, 10)):
        began_s = time.monotonic()
        reader, writer = await asyncio.open_connection(*node.target)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await reader.readline()).split()[1] == b"200"
        slowest_s = max(slowest_s, time.monotonic() - began_s)
        writer.transport.abort()
        await asyncio.sleep(0.1)
    return slowest_s * 1000
