"""One address that asks for far more than its share: of the past, and of a node's memory.

Times are compared in a whole run only. In a short one the bounds are shown: how much of the past is
read for each client, and how many bytes are held.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.chaos.analysis import of_groups, p99_ms
from tests.chaos.history import Subscription
from tests.chaos.processes import Node
from tests.chaos.stage import Stage
from tests.wait import until

_QUIET = Subscription(("a",))
_HIGH_WATER = 65_536
_WINDOW_EVENTS = 500
_ORDER_ADDRESS = "127.0.0.2"
_ORDER_TIMEOUT_S = 30.0
_SMALLEST_BUFFER = 4096
_NOT_OF_PAGES = 40_000  # bytes of a connection itself, with a margin


async def in_vain(stage: Stage) -> None:
    """Many clients replay a long stream whose events their filters leave out, and one an order."""
    (node,) = await stage.start_nodes(1, window_events=_WINDOW_EVENTS)
    ids = await _fill(stage, stage.count(60_000, 8000), 120)
    await stage.open("quiet", 20, "/a", _QUIET)
    stage.background(stage.producer().run(20))
    began_s = time.monotonic()
    alone_ms = await _orders(stage, node, ids)
    hostile_s, reads = time.monotonic(), await node.metric("broadcaster_replay_reads_total")
    hostile = stage.count(330, 60)
    with _clients(node, [f"/c?type=no&from={ids[n]}" for n in range(hostile)]):
        await asyncio.sleep(0.5)
        busy_ms = await _orders(stage, node, ids)
        ended_s = time.monotonic()
        reads = await node.metric("broadcaster_replay_reads_total") - reads
    await stage.quiet()
    await stage.settle(streams=("a",))
    before_ms, during_ms = (
        p99_ms(stage.recording, stage.ledger, [span], of_groups("quiet"))
        for span in ((began_s, hostile_s), (hostile_s, ended_s))
    )
    stage.show(
        "order pages are served meanwhile, the slowest within 100 ms",
        f"{max(alone_ms):.0f} ms before, {max(busy_ms):.0f} ms during",
        stage.quick or max(busy_ms) <= 100.0,
        busy=True,
    )
    limit_ms = max(2 * before_ms, 20.0)
    stage.show(
        "p99 of quiet clients: twice as much, or 20 ms",
        f"{before_ms:.1f} ms before, {during_ms:.1f} ms during",
        stage.quick or during_ms <= limit_ms,
        busy=True,
    )
    per_s = reads / (ended_s - hostile_s)
    # A page costs about a millisecond, and the node rests for three after each.
    stage.show("reads of Redis: at most 500 a second", f"{per_s:.0f}", per_s <= 500)
    stage.show_no_reset()


async def unread(stage: Stage) -> None:
    """Many clients replay large events, and read nothing of what they get."""
    # A node for each kind, as memory that was freed would hide what the next kind takes.
    nodes = await stage.start_nodes(3, window_events=_WINDOW_EVENTS)
    ids = await _fill(stage, stage.count(20_000, 4000), 1000)
    await stage.open("quiet", 20, "/a", _QUIET)
    stage.background(stage.producer().run(20))
    count = stage.count(300, 100)
    starts = {
        "Redis": ["earliest"] * count,
        "Redis, each from another id": ids[:count],
        "the window, each from another id": ids[-count - 150 : -150],
    }
    for node, (source, begin) in zip(nodes, starts.items(), strict=True):
        before, others = _pss_bytes(node), await node.metric("broadcaster_connections")
        with _clients(node, [f"/c?from={start}" for start in begin]):
            await until(_has(node, others + count))
            await _until_steady(node)
            each = (_pss_bytes(node) - before) / count
        limit = 2 * _HIGH_WATER + _NOT_OF_PAGES
        stage.show(
            f"a client of {source}, that reads nothing, holds at most {limit / 1000:.0f} KB",
            f"{each / 1000:.0f} KB each, of {count}",
            each <= limit,
        )
    await stage.quiet()
    await stage.settle(streams=("a",))
    stage.show_no_reset()


async def _fill(stage: Stage, count: int, size: int) -> list[str]:
    """Add events to a stream that no other client follows. Return their ids."""
    ids: list[str] = []
    while len(ids) < count:
        pipe = stage.client.pipeline(transaction=False)
        for number in range(len(ids), min(count, len(ids) + 1000)):
            pipe.xadd("c", {"type": "t", "key": f"order{number % 100}", "data": "x" * size})
        ids += [id_.decode() for id_ in await pipe.execute()]
    return ids


@contextmanager
def _clients(node: Node, paths: list[str]) -> Iterator[None]:
    """Clients with the smallest buffers, which read nothing."""
    with ExitStack() as stack:
        for path in paths:
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALLEST_BUFFER)
            client.connect(node.target)
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        yield


async def _orders(stage: Stage, node: Node, ids: list[str]) -> list[float]:
    """Look at some orders, from another address. Return how long each took, in milliseconds."""
    took_ms = []
    for number in range(stage.count(40, 10)):
        path = f"/c?key=order{number}&from={ids[-_WINDOW_EVENTS - 100]}"
        began_s = time.monotonic()
        async with asyncio.timeout(_ORDER_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(
                *node.target, local_addr=(_ORDER_ADDRESS, 0)
            )
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            await reader.readuntil(b"event: stream.live")
        took_ms.append((time.monotonic() - began_s) * 1000)
        writer.transport.abort()
        await asyncio.sleep(0.1)
    return sorted(took_ms)


async def _until_steady(node: Node) -> None:
    """Wait until the node's memory grows no more."""
    before = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_ORDER_TIMEOUT_S):
            while (now := _pss_bytes(node)) > before:
                before = now
                await asyncio.sleep(1.0)


def _has(node: Node, count: float) -> Callable[[], Awaitable[bool]]:
    """Return a condition: the node has so many clients."""

    async def has() -> bool:
        return await node.metric("broadcaster_connections") == count

    return has


def _pss_bytes(node: Node) -> int:
    """Its proportional share of memory: what would be free if it ended."""
    text = Path(f"/proc/{node.pid}/smaps_rollup").read_text()
    (kilobytes,) = re.findall(r"^Pss:\s+(\d+) kB$", text, re.MULTILINE)
    return int(kilobytes) * 1024
