"""Input that is malformed or hostile, and a long run with ordinary input."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import suppress

import orjson

from tests.chaos.history import Subscription
from tests.chaos.stage import Stage

_TOKEN = "s3cr3t-token-0815"
_CONTROL = re.compile(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]")  # C0, DEL, and C1 in UTF-8
_LISTENING = b"Listening on "  # what the command says by itself
_READ_S = 10.0  # generous, as a node is busy meanwhile
_ARRIVES_S = 5.0
_PIECES = (
    b"\x00",
    b"\r\n",
    b"\n",
    b"\x1b[31m",
    b"%00",
    b"%ff%fe",
    b"%1b%5b2J",
    b"%c2%9b31m%7f",
    b"\xff\xfe",
    "\u2028".encode(),
    b"A" * 5000,
    b"9" * 400,
    b"-",
    b"=",
    b",",
    b"&",
    b"?",
    b"from=",
    b"channel=a",
    b"key=",
    b"1-1",
    b"18446744073709551616-0",
    b"a=1-1,b=2-2,a=3-3",
    b"run=5-5",
)


_ODD_TEXT = (
    "\r", "\n", "\r\n", "\n\n", "\x00", "\x1b[31m", "\u2028", "\ufeff", " ", ":", "data: x",
    "\nid: 5-5", "\nevent: y\n", "\n\nid: 6-6\ndata: z\n\n", "\nretry: 1\n", "0\r\n\r\n",
    "A" * 5000,
)  # fmt: skip


async def fuzz(stage: Stage) -> None:
    """Odd requests at a node, and odd entries in a stream, while clients are served."""
    (node,) = await stage.start_nodes(1, window_bytes=4_000_000, log_level="debug")
    await stage.open("one", 50, "/a", Subscription(("a",)))
    stage.background(stage.producer().run(50))
    await _requests(stage, 100)  # what is loaded and cached once
    before, asked = node.rss_bytes(), stage.count(5000, 1000)
    statuses, *_ = await asyncio.gather(
        _requests(stage, asked),
        _entries(stage, stage.count(400, 100)),
        _odd_events(stage, stage.count(500, 200)),
    )
    await _requests(stage, 100)
    grown = node.peak_rss_bytes() - before
    came = await _goes_on(stage)
    malformed = await node.metric("broadcaster_malformed_entries_total")
    ready = await node.is_ready()
    await stage.quiet()
    await stage.settle(streams=("a", "b", "c"))
    log = node.log.read_bytes()
    failures = sum(count for status, count in statuses.items() if status >= 500)
    answered = asked - statuses.get(0, 0)
    measured = f"{dict(sorted(statuses.items()))}, of {asked}"
    stage.show("no 5xx, and an answer to most", measured, not failures and answered > asked * 0.9)
    stage.show("entries that can't be sent are counted", f"{malformed:.0f}", malformed > 0)
    what = "what comes after them arrives, and the node is ready"
    stage.show(what, f"{came}, {ready}", came and ready)
    said = [line for line in log.splitlines() if not line.startswith(_LISTENING)]
    wrong = sum(not _is_json(line) for line in said)
    stage.show(
        "each log line is an object of JSON", f"{len(said) - wrong} of {len(said)}", not wrong
    )
    stage.show("no traceback", f"{log.count(b'Traceback')}", b"Traceback" not in log)
    odd = _CONTROL.findall(log)
    stage.show("no control character in the log", f"{len(odd)}", not odd)
    stage.show("no token in the log", f"{log.count(_TOKEN.encode())}", _TOKEN.encode() not in log)
    stage.show("memory: less than 50 MB more, ever", f"{grown / 1e6:.1f} MB", grown < 50e6)
    stage.show_no_reset()


async def _requests(stage: Stage, count: int) -> dict[int, int]:
    statuses: dict[int, int] = {}
    places = asyncio.Semaphore(20)
    found = await asyncio.gather(*(_request(stage, places) for _ in range(count)))
    for status in found:
        statuses[status] = statuses.get(status, 0) + 1
    return statuses


def _odd(stage: Stage, *more: bytes) -> bytes:
    return b"".join(stage.random.choices((*_PIECES, *more), k=stage.random.randrange(1, 6)))


async def _request(stage: Stage, places: asyncio.Semaphore) -> int:
    """Send a malformed request. Return its status, or 0 if the connection was closed."""
    clean = re.compile(rb"[\x00-\x20\x7f]")
    key = clean.sub(b"", _odd(stage))  # without a token, as the path is logged
    path = stage.random.choice((b"/a", b"/v1/events", b"/d/" + key, b"/v1/channels/a", b"/"))
    token = _TOKEN.encode()
    query, header = (
        odd if stage.random.random() < 0.3 else clean.sub(b"", odd)
        for odd in (b"?" + _odd(stage, token), _odd(stage, token))
    )
    name = stage.random.choice((b"Last-Event-ID", b"Authorization", b"Cookie", _odd(stage, token)))
    request = b"GET %b%b HTTP/1.1\r\nHost: localhost\r\n%b: %b\r\n\r\n" % (
        path,
        query,
        name,
        header,
    )
    async with places:
        try:
            reader, writer = await asyncio.open_connection(*stage.nodes[0].target)
            try:
                writer.write(request)
                async with asyncio.timeout(_READ_S):
                    line = await reader.readline()
                return int(line.split()[1]) if line.startswith(b"HTTP/1.1 ") else 0
            finally:
                writer.transport.abort()
        except (OSError, TimeoutError, IndexError, ValueError):
            return 0


async def _odd_events(stage: Stage, count: int) -> None:
    """Events that can be sent, however odd: all clients must get them as they are."""
    producer = stage.producer()
    for number in range(count):
        odd = "".join(stage.random.choices(_ODD_TEXT, k=stage.random.randrange(1, 6)))
        key = "".join(stage.random.choices(_ODD_TEXT, k=1))
        await producer.publish("a", key, data=f"{number}{odd}".encode())


async def _goes_on(stage: Stage) -> bool:
    """Return True if an event gets through the stream with the odd entries."""
    await stage.client.xadd("d", {"type": "t", "key": "last", "data": "after all of them"})
    path = "/d/last?from=earliest"
    with suppress(TimeoutError):
        async with asyncio.timeout(_ARRIVES_S):
            async with stage.nodes[0].client.stream("GET", path) as answer:
                async for line in answer.aiter_lines():
                    if line == "data: after all of them":
                        return True
    return False


def _is_json(line: bytes) -> bool:
    try:
        return isinstance(orjson.loads(line), dict)
    except ValueError:
        return False


async def _entries(stage: Stage, count: int) -> None:
    for _ in range(count):
        kind = stage.random.randrange(4)
        if kind == 0:
            fields = {f"f{n}": _odd(stage) for n in range(500)}
        elif kind == 1:
            fields = {"data": b"x" * (1 << 20), "type": b"large"}
        elif kind == 2:
            fields = {"m": stage.random.randbytes(stage.random.randrange(1, 200))}
        else:
            fields = {name: _odd(stage) for name in ("type", "key", "data")}
        await stage.client.xadd("d", fields, maxlen=20)


async def soak(stage: Stage) -> None:
    """Clients that come and go for a long time."""
    (node,) = await stage.start_nodes(1, window_events=80)  # full when the warm-up ends
    clients = stage.count(1000, 200)
    await stage.open_mix(clients)
    stage.background(stage.producer(streams=("a", "b"), maxlen=2000).run(10))
    await stage.load.ask("churn", mean_life_s=clients / 10.0)  # ten a second
    # What connections leave of the allocator's memory is used again, but not at once: six thousand
    # of them to warm up.
    await asyncio.sleep(stage.size(600.0, 20.0))
    samples, files = [], []
    ends_s = time.monotonic() + stage.size(1200.0, 30.0)
    while time.monotonic() < ends_s:
        samples.append((time.monotonic(), node.rss_bytes()))
        files.append(node.open_files())
        await asyncio.sleep(1.0)
    await stage.load.ask("churn", mean_life_s=0.0)
    await stage.quiet()
    await stage.settle()
    _show_memory(stage, samples)
    half = len(files) // 2
    first, last = sum(files[:half]) / half, sum(files[half:]) / (len(files) - half)
    stage.show(
        "file descriptors are flat",
        f"{first:.0f} on average in the first half, {last:.0f} in the second",
        abs(last - first) <= max(5.0, clients * 0.02),
    )
    stage.show_no_reset()


def _show_memory(stage: Stage, samples: list[tuple[float, int]]) -> None:
    slope, error = (rate * 3600 / 1e6 for rate in _slope(samples))
    grown = (samples[-1][1] - samples[0][1]) / 1e6
    shown = f"{slope:.1f} ± {error:.1f} MB/h, {grown:+.2f} MB, {samples[-1][1] / 1e6:.0f} MB in all"
    if stage.quick:  # the allocator is still warming up; a connection's garbage would be 2.4 MB
        stage.show("memory: less than 1 MB more", shown, grown < 1.0)
    else:
        right = slope - 2 * error < 1.0 and error < 1.0  # or anything would be within its noise
        stage.show("memory: a slope below 1 MB/h, within its noise", shown, right)


def _slope(samples: list[tuple[float, int]]) -> tuple[float, float]:
    """A line through the samples, by least squares: its slope, and the slope's standard error."""
    count = len(samples)
    mean_x = sum(x for x, _ in samples) / count
    mean_y = sum(y for _, y in samples) / count
    spread = sum((x - mean_x) ** 2 for x, _ in samples)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in samples) / spread
    rest = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in samples)
    return slope, (rest / max(1, count - 2) / spread) ** 0.5
