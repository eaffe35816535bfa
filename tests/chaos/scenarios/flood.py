"""One address that floods a node: with heads, with requests on demand, and by one large entry."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress

from broadcaster.core.runs.pending import MAX_LEFT
from tests.chaos.attack import Attack, Target, doing, get, withstand
from tests.chaos.processes import Node
from tests.chaos.stage import Stage
from tests.wait import until

_PIPELINED = get("/healthz") * 6000  # 250 KB
_HEADER_BYTES = 39_000_000
_HALF_OPEN_RATE = 400.0
_HEAD_S = 2.0
_CLOSED_S = 30.0
_HELD_BYTES = 30e6

_MAX_REQUESTS = 300
_ON_THEIR_WAY = 4  # requests of a node that may exceed the limit
_REQUEST_BYTES = 5000  # at the worst, as docs/channels.md says
_MEMORY = "64mb"
_QUEUE = "made.requests"
_AHEAD = MAX_LEFT + _ON_THEIR_WAY
_AHEAD_S = 10.0

_PACKED = b"\xdd" + (20_000_000).to_bytes(4) + b"\x80" * 20_000_000  # as many empty maps
_PACKED_CPU_S = 2.0
_PACKED_EVERY_S = 2.0
_PACKED_BYTES = 200e6

_CHANNELS = f"""
[channels.made]
path = "/made"
key_param = "user"
key_required = true
requests = "{_QUEUE}"
[channels.odd]
path = "/odd"
"""


async def flood(stage: Stage) -> None:
    """A flood of heads, then of requests on demand, and then entries that are costly to unpack."""
    attacks = (
        Attack("a flood of heads", _heads),
        Attack("requests on demand", _on_demand),
        Attack("entries of 20 MB", _packed),
    )
    await withstand(
        stage,
        attacks,
        events=2000,
        also=_CHANNELS,
        head_timeout_s=_HEAD_S,
        max_requests=_MAX_REQUESTS,
    )


@asynccontextmanager
async def _heads(target: Target) -> AsyncIterator[None]:
    """Requests behind a stream, a header without an end, and connections without a request."""
    node, stage = target.node, target.stage
    node.forget_peak()
    before = node.rss_bytes()
    attacks = [
        *(_sent(node, get("/a"), _PIPELINED) for _ in range(60)),
        _sent(node, b"GET /a HTTP/1.1\r\nHost: localhost\r\nX-Long: ", *_long_header()),
        *(_half_open(node, number / _HALF_OPEN_RATE) for number in range(stage.count(2000, 300))),
    ]
    closing = [asyncio.create_task(_closed(attack)) for attack in attacks]
    yield
    closed = await asyncio.gather(*closing)
    grown = node.peak_rss_bytes() - before
    name = "a flood of heads"
    measured = f"{sum(closed)} of {len(closed)}"
    stage.show(f"{name}: the node closes all of them", measured, all(closed), busy=True)
    stage.show(
        f"{name}: less than {_HELD_BYTES / 1e6:.0f} MB more, ever",
        f"{grown / 1e6:.1f} MB",
        grown < _HELD_BYTES,
    )


def _long_header() -> list[bytes]:
    return [b"x" * 65_536] * (_HEADER_BYTES // 65_536)


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


async def _half_open(node: Node, after_s: float) -> None:
    await asyncio.sleep(after_s)  # all at once, they would only show how fast a node accepts
    await _sent(node, b"GET /a HTTP/1.1\r\nHost: loc")


async def _sent(node: Node, *pieces: bytes) -> None:
    """Connect, write, and read until the node closes the connection."""
    reader, writer = await asyncio.open_connection(*node.target)
    try:
        with suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
        while await reader.read(65_536):
            pass
    finally:
        writer.transport.abort()


@asynccontextmanager
async def _on_demand(target: Target) -> AsyncIterator[None]:
    """Requests with long keys, whose clients leave at once. No worker takes them."""
    node, stage, name = target.node, target.stage, "requests on demand"
    redis, answers, most, held = stage.client, Counter[bytes](), 0, 0
    await redis.config_set("maxmemory", _MEMORY)
    await redis.config_set("maxmemory-policy", "noeviction")

    async def hurry(key_bytes: int) -> None:
        while True:
            key = stage.random.randbytes(key_bytes // 2).hex()
            answers[await _status(node, f"/made?user={key}")] += 1
            await asyncio.sleep(0.02)

    async def watch() -> None:
        nonlocal most, held
        while True:
            most = max(most, await redis.xlen(_QUEUE))
            held = max(held, await redis.memory_usage(_QUEUE, samples=0) or 0)
            await asyncio.sleep(0.05)

    async with doing(watch(), hurry(14_000), *(hurry(256) for _ in range(10))):
        yield
        ahead = await _ahead_of_a_real_client(stage, node)
    refused = (await redis.info("errorstats")).get("errorstat_OOM", 0)
    await redis.config_set("maxmemory", 0)
    limit = _MAX_REQUESTS + _ON_THEIR_WAY
    measured = f"{most}, of {answers[b'200']} in all"
    stage.show(f"{name}: at most {limit} wait", measured, 0 < most <= limit)
    bound = _MAX_REQUESTS * _REQUEST_BYTES
    measured = f"{held / 1000:.0f} KB"
    stage.show(f"{name}: at most {bound / 1000:.0f} KB in Redis", measured, held <= bound)
    stage.show(f"{name}: Redis refuses nothing", f"{refused}", not refused)
    measured = f"{dict(answers)}"
    stage.show(f"{name}: a key of 14 KB is a 400", measured, answers.keys() == {b"200", b"400"})
    what = f"{name}: at most {_AHEAD} before that of a client who stays"
    stage.show(what, f"{ahead}", ahead <= _AHEAD)


async def _status(node: Node, path: str) -> bytes:
    """Send a request, and leave as soon as the answer begins."""
    reader, writer = await asyncio.open_connection(*node.target)
    try:
        writer.write(get(path))
        return (await reader.readline()).split()[1]
    finally:
        writer.transport.abort()


async def _ahead_of_a_real_client(stage: Stage, node: Node) -> int:
    """Let a client come and stay. Return how many requests workers would still take before its."""
    reader, writer = await asyncio.open_connection(*node.target)
    try:
        writer.write(get("/made?user=real"))
        await reader.readuntil(b"stream.live")

        async def ahead() -> int:
            keys = [fields[b"key"] for _, fields in await stage.client.xrange(_QUEUE)]
            return keys.index(b"real")

        async def are_few() -> bool:
            return await ahead() <= _AHEAD

        with suppress(TimeoutError):
            await until(are_few, _AHEAD_S)
        return await ahead()
    finally:
        writer.transport.abort()


@asynccontextmanager
async def _packed(target: Target) -> AsyncIterator[None]:
    """Entries that would take the node ten seconds and 1.5 GB each, if it unpacked them."""
    node, stage, added, name = target.node, target.stage, 0, "entries of 20 MB"

    async def add() -> None:
        nonlocal added
        while True:
            await stage.client.xadd("odd", {"m": _PACKED}, maxlen=1, approximate=False)
            added += 1
            await asyncio.sleep(_PACKED_EVERY_S)

    async def left_out() -> bool:
        return await node.metric("broadcaster_malformed_entries_total") >= max(2, added)

    node.forget_peak()
    before, cpu_s = node.rss_bytes(), node.cpu_s()
    async with doing(add()):
        yield
        await until(left_out)
    cost_s, grown = (node.cpu_s() - cpu_s) / added, node.peak_rss_bytes() - before
    stage.show(
        f"{name}: each costs at most {_PACKED_CPU_S:.0f} s of CPU, with all else that is served",
        f"{cost_s:.2f} s, of {added}",
        cost_s <= _PACKED_CPU_S,
        busy=True,
    )
    stage.show(
        f"{name}: less than {_PACKED_BYTES / 1e6:.0f} MB more, ever",
        f"{grown / 1e6:.1f} MB",
        grown < _PACKED_BYTES,
    )
