"""What publishing over HTTP costs its sender, and other clients: `python -m bench.posting`.

* A `POST` on a kept connection beside `Publisher.publish`, in turns.
* The latency of 200 clients of one channel, with and without a flood of events to another one, in
  turns. The flood is lines, or a request for each event.

Other work on the machine moves all figures. So look at the ratios, which are of one run. The node
has a core of its own. Redis, the clients, and what publishes share another one, in both turns.
"""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import Any

import click
import jwt

from bench.child import Process
from bench.events import paced
from bench.measure import Load, Row, summary
from bench.servers import Transport
from broadcaster import Publisher

_SECRET = "a secret of the benchmark, of 64 bytes: 0123456789abcdef01234567"
_SETTINGS: dict[str, Any] = {
    "token_secrets": [_SECRET],
    "channels": {
        "inventory": {"path": "/v1/inventory/stream", "access": "public"},
        "orders": {"path": "/v1/orders/{key}/status/stream"},
    },
}
_EVENT = b'{"type":"stock-change","key":"7","data":{"petId":1,"oldStock":3,"newStock":4}}'
_DATA = {"petId": 1, "oldStock": 3, "newStock": 4}
_TURN = 100
_CLIENTS, _RATE, _SECONDS, _BYTES = 200, 50.0, 5.0, 180
_FLOODS = {"lines": 10_000.0, "requests": 100.0}  # events in a second


class Poster:
    """Publishes on one connection that is kept."""

    def __init__(self, port: int, channel: str) -> None:
        """Connect to a node on this machine."""
        rights = {"publish": [channel]}
        token = jwt.encode({"sub": "shop", "exp": time.time() + 3600, "broadcaster": rights},
                           _SECRET, algorithm="HS256")  # fmt: skip
        self._head = (
            f"POST /v1/channels/{channel}/events HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {token}\r\n"
        )
        self._sock = socket.create_connection(("127.0.0.1", port))
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def post(self) -> None:
        """Publish one event, and wait for the answer."""
        head = f"Content-Type: application/json\r\nContent-Length: {len(_EVENT)}\r\n\r\n"
        self._sock.sendall((self._head + head).encode() + _EVENT)
        answer = b""
        while b'{"ids"' not in answer:
            answer += (part := self._sock.recv(65536))
            assert part, answer

    def lines(self, rate: float) -> None:
        """Publish lines in chunks at a rate, and read the answer meanwhile. It has no end."""
        head = "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
        self._sock.sendall((self._head + head).encode())
        self._sock.setblocking(False)
        for due in paced(rate, 3600):
            body = (_EVENT + b"\n") * due
            self._sock.setblocking(True)
            self._sock.sendall(b"%x\r\n%b\r\n" % (len(body), body))
            self._sock.setblocking(False)
            with suppress(BlockingIOError):
                self._sock.recv(1 << 20)


def _flood(kind: str, port: int) -> None:
    poster, rate = Poster(port, "orders"), _FLOODS[kind]
    if kind == "lines":
        poster.lines(rate)
    for due in paced(rate, 3600):
        for _ in range(due):
            poster.post()


@contextmanager
def _flooded(kind: str, server: Transport) -> Iterator[None]:
    command = [sys.executable, "-m", "bench.posting", "--flood", kind, "--port", str(server.port)]
    with Process(command):
        before = _added(server)
        while _added(server) == before:
            time.sleep(0.1)
        yield


def _added(server: Transport) -> int:
    """Return how many events were ever published to the channel of the flood."""
    if not server.client.exists("orders"):
        return 0
    info: Any = server.client.xinfo_stream("orders")
    return int(info["entries-added"])


def _pin(pid: int, core: int) -> None:
    for task in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(task), {core})


def _timed(call: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    call()
    return (time.perf_counter() - began_s) * 1e6


def single(server: Transport, turns: int) -> None:
    """Print the medians of a `POST` and of `Publisher.publish`."""
    poster, loop = Poster(server.port, "inventory"), asyncio.new_event_loop()
    publisher = Publisher(server.redis_url, channels=server.publisher.channels)
    posted, published = list[float](), list[float]()

    async def publish(spent: list[float]) -> None:
        for _ in range(_TURN):
            began_s = time.perf_counter()
            await publisher.publish("inventory", type="stock-change", key="7", data=_DATA)
            spent.append((time.perf_counter() - began_s) * 1e6)

    for turn in range(turns + 1):
        if turn == 1:  # the first one warmed up
            posted, published = [], []
        posted += [_timed(poster.post) for _ in range(_TURN)]
        loop.run_until_complete(publish(published))
    loop.run_until_complete(publisher.aclose())
    loop.close()
    post_us, publish_us = statistics.median(posted), statistics.median(published)
    print(f"a POST {post_us:.0f} µs, Publisher.publish {publish_us:.0f} µs: "
          f"{post_us / publish_us:.2f} times", flush=True)  # fmt: skip


def beside(server: Transport, kind: str, rounds: int) -> None:
    """Print the latency of clients without and with a flood of events to another channel."""
    found: dict[bool, list[Row]] = {False: [], True: []}
    rates = list[float]()
    with ExitStack() as stack:
        load = Load(server, _CLIENTS, stack)
        load.open(_CLIENTS)
        load.warm_up()
        empty = server.process.pss_bytes()
        for _ in range(rounds):
            for flooded in (False, True):
                with _flooded(kind, server) if flooded else nullcontext():
                    count, began_s = _added(server), time.monotonic()
                    row = load.measure(_RATE, _SECONDS, _BYTES)
                    if flooded:
                        rates.append((_added(server) - count) / (time.monotonic() - began_s))
                found[flooded].append(row)
        grown = (server.process.pss_bytes() - empty) / (1 << 20)
    rate = statistics.median(rates)
    print(f"{kind}: {rate:,.0f} events/s, and {grown:.0f} MB more, with the window of these events")
    alone, beside_it = (summary(found[flooded]) for flooded in found)
    for name in ("p50_ms", "p99_ms"):
        before, during = alone[name], beside_it[name]
        print(f"  {name[:3]} of {_CLIENTS} clients: {before:.2f} ms alone, {during:.2f} ms beside: "
              f"{during / before:.2f} times")  # fmt: skip
    shares = [row["server_cpu_percent"] for row in (alone, beside_it)]
    print(f"  the node's CPU: {shares[0]:.0f} % alone, {shares[1]:.0f} % beside: "
          f"{(shares[1] - shares[0]) * 1e4 / rate:.0f} µs for each event", flush=True)  # fmt: skip


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Of each measurement.")
@click.option("--flood", hidden=True)
@click.option("--port", hidden=True, type=int)
@click.option("--kind", type=click.Choice(list(_FLOODS)), help="Of the flood, instead of all.")
def main(rounds: int, flood: str | None, port: int | None, kind: str | None) -> None:
    """Measure, and print the figures. It takes about three minutes."""
    if flood and port:
        _flood(flood, port)
        return
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[1:2] or cores)  # and so all that is started
    with Transport(**_SETTINGS) as server:
        for pid in server.process.pids:
            _pin(pid, cores[0])
        single(server, 4 * rounds)
        for one in [kind] if kind else _FLOODS:
            beside(server, one, rounds)


if __name__ == "__main__":
    main()
