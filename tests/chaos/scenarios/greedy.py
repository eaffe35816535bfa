"""One address that asks for far more than its share of the past."""

from __future__ import annotations

import asyncio
import itertools
import re
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

from tests.chaos.attack import WINDOW_EVENTS, Attack, Target, doing, fill, get, withstand
from tests.chaos.history import Subscription
from tests.chaos.processes import Node
from tests.chaos.stage import Stage
from tests.wait import until

_HIGH_WATER = 65_536
_STEADY_S = 30.0
_SMALLEST_BUFFER = 4096
_SEGMENT_BYTES = 1400  # as on the internet; for the 64 KB of loopback the kernel takes 2.6 MB
_CONNECTION = 25_000  # bytes, with a margin
_PIECE = 65_536
_LIVE = b"event: stream.live"
_HOT = '[channels.hot]\npath = "/hot"\nwindow_events = 200000\nwindow_bytes = 100000000\n'


async def past(stage: Stage) -> None:
    """Replays in vain, replays of a key that has all events, and clients that leave meanwhile."""
    attacks = (
        Attack("in vain, from Redis", _in_vain),
        Attack("leaving during a read", _leaving),
        Attack("in vain, from the window", _in_vain_of_window),
        Attack("a hot key", _hot_key),
    )
    await withstand(stage, attacks, events=stage.count(60_000, 8000), also=_HOT)


@asynccontextmanager
async def _in_vain(target: Target) -> AsyncIterator[None]:
    """Many clients replay a long stream whose events their filters leave out."""
    node, stage = target.node, target.stage
    reads, began_s = await node.metric("broadcaster_replay_reads_total"), time.monotonic()
    hostile = target.ids[: stage.count(330, 60)]
    with _clients(node, [f"/c?type=no&from={id_}" for id_ in hostile]):
        await asyncio.sleep(0.5)
        yield
        reads = await node.metric("broadcaster_replay_reads_total") - reads
    per_s = reads / (time.monotonic() - began_s)
    # A page costs about a millisecond, and the node rests for three after each.
    stage.show("in vain, from Redis: at most 500 reads a second", f"{per_s:.0f}", per_s <= 500)


@asynccontextmanager
async def _leaving(target: Target) -> AsyncIterator[None]:
    """Clients that begin a read of the past each, and are gone before its end."""
    node, stage, left = target.node, target.stage, 0
    chosen = itertools.cycle(target.ids[: -2 * WINDOW_EVENTS])

    async def leave_again_and_again() -> None:
        nonlocal left
        while True:
            reader, writer = await asyncio.open_connection(*node.target)
            writer.write(get(f"/c?from={next(chosen)}"))
            await reader.readline()  # the head comes before the read
            await asyncio.sleep(stage.random.uniform(0.0, 0.06))
            writer.transport.abort()
            left += 1

    connected, reads = await _connected(stage), await node.metric("broadcaster_replay_reads_total")
    async with doing(*(leave_again_and_again() for _ in range(8))):
        yield
    made = await _connected(stage) - connected
    reads = await node.metric("broadcaster_replay_reads_total") - reads
    what = "leaving during a read"
    stage.show(f"{what}: at most 10 new connections to Redis", f"{made}, of {left}", made <= 10)
    stage.show(f"{what}: at most two reads for each", f"{reads:.0f}", 0 < reads <= 2 * left)


async def _connected(stage: Stage) -> int:
    """Return the number of connections that Redis has taken so far."""
    return int((await stage.client.info("stats"))["total_connections_received"])


@asynccontextmanager
async def _in_vain_of_window(target: Target) -> AsyncIterator[None]:
    """Clients that replay a large window in vain, again and again."""
    node, stage = target.node, target.stage
    count = stage.count(100_000, 20_000)
    await fill(stage, "hot", count, 100)
    await until(_has(node, "window_events", count, stream="hot"))
    began_s, cpu_s = time.monotonic(), node.cpu_s()
    path = "/hot?type=no&from=earliest"
    async with doing(*(_again_and_again(node, path) for _ in range(stage.count(100, 30)))):
        await asyncio.sleep(0.5)
        yield
        share = (node.cpu_s() - cpu_s) / (time.monotonic() - began_s)
    stage.show("in vain, from the window: at most 0.7 of a core", f"{share:.2f}", share <= 0.7)


@asynccontextmanager
async def _hot_key(target: Target) -> AsyncIterator[None]:
    """Ten clients that replay all events of one key, again and again."""
    node, stage = target.node, target.stage
    key, whole = "/hot?key=order0&from=earliest", "/hot?from=earliest"
    keyed_s, whole_s = [await _cost_s(node, path) for path in (key, whole)]
    async with doing(*(_again_and_again(node, key) for _ in range(10))):
        yield
    stage.show(
        "a hot key: a replay costs at most three times what it costs without the key",
        f"{keyed_s:.2f} s of CPU and {whole_s:.2f} s",
        keyed_s <= 3 * whole_s + 0.1,
        busy=True,
    )


async def _cost_s(node: Node, path: str) -> float:
    """Replay once, and return what it costs the node."""
    before_s = node.cpu_s()
    await _replay(node, path)
    return node.cpu_s() - before_s


async def _again_and_again(node: Node, path: str) -> None:
    while True:
        await _replay(node, path)


async def _replay(node: Node, path: str) -> None:
    """Read from the beginning to the end."""
    reader, writer = await asyncio.open_connection(*node.target)
    try:
        writer.write(get(path))
        end = b""
        while _LIVE not in end:
            piece = await reader.read(_PIECE)
            assert piece, "the node has closed it"
            end = end[-len(_LIVE) :] + piece
    finally:
        writer.transport.abort()


async def unread(stage: Stage) -> None:
    """Many clients replay large events, and read nothing of what they get."""
    # A node for each kind, as memory that was freed would hide what the next kind takes.
    nodes = await stage.start_nodes(3, window_events=WINDOW_EVENTS)
    ids = await fill(stage, "c", stage.count(20_000, 4000), 1000)
    await stage.open("quiet", 20, "/a", Subscription(("a",)))
    stage.background(stage.producer().run(20))
    count = stage.count(300, 100)
    kinds = (
        ("Redis", ["earliest"] * count, 0),  # clients share their pages
        ("Redis, each from another id", ids[:count], 2 * _HIGH_WATER),
        ("the window, each from another id", ids[-count - 150 : -150], 2 * _HIGH_WATER),
    )
    for node, (source, begin, pages) in zip(nodes, kinds, strict=True):
        others = await node.metric("broadcaster_connections")
        await _replay(node, "/c?from=earliest")  # a node's first read of the past is its largest
        await until(_has(node, "connections", others))
        before = _pss_bytes(node)
        with _clients(node, [f"/c?from={start}" for start in begin]) as clients:
            await until(lambda: all(map(_has_bytes, clients)))
            await _until_steady(node, count)
            each = (_pss_bytes(node) - before) / count
        limit = pages + _CONNECTION
        stage.show(
            f"a client of {source}, that reads nothing, holds at most {limit / 1000:.0f} KB",
            f"{each / 1000:.0f} KB each, of {count}",
            each <= limit,
        )
    await stage.quiet()
    await stage.settle(streams=("a",))
    stage.show_no_reset()


@contextmanager
def _clients(node: Node, paths: list[str]) -> Iterator[list[socket.socket]]:
    """Clients with the smallest buffers, which read nothing."""
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.socket()) for _ in paths]
        for client, path in zip(clients, paths, strict=True):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALLEST_BUFFER)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT_BYTES)
            client.connect(node.target)
            client.sendall(get(path))
        yield clients


def _has_bytes(client: socket.socket) -> bool:
    """Return True if something is there to be read."""
    try:
        return bool(client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return False


async def _until_steady(node: Node, clients: int) -> None:
    """Wait until a second adds less than 1 KB for each client to the node's memory."""
    before = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_STEADY_S):
            while (now := _pss_bytes(node)) >= before + 1000 * clients:
                before = now
                await asyncio.sleep(1.0)


def _has(node: Node, name: str, count: float, **labels: str) -> Callable[[], Awaitable[bool]]:
    """Return a condition: a metric of the node has a value."""

    async def has() -> bool:
        return await node.metric(f"broadcaster_{name}", **labels) == count

    return has


def _pss_bytes(node: Node) -> int:
    """Its proportional share of memory: what would be free if it ended."""
    text = Path(f"/proc/{node.pid}/smaps_rollup").read_text()
    (kilobytes,) = re.findall(r"^Pss:\s+(\d+) kB$", text, re.MULTILINE)
    return int(kilobytes) * 1024
