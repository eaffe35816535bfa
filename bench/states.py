"""What states cost: `make bench-state`. Each figure is printed beside the one that was asked for.

* Folding: CPU time per event and memory per key, in this process.
* Joins of a large state: to the last byte, with Redis's commands, and how long the node stops for
  other clients meanwhile.
* A herd: many clients join at once. What they are sent is multiplied with their number, so their
  state is a small one. The floor is the same bytes, sent to as many sockets by a loop of `send`.
"""

from __future__ import annotations

import gc
import json
import random
import select
import socket
import statistics
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, NamedTuple

import click
import orjson

from bench.child import Child
from bench.servers import Transport
from broadcaster import Event, EventId, Outgoing
from broadcaster.commands.host import calm_garbage_collection, raise_file_limit
from broadcaster.core.sse import Frame, encode
from broadcaster.core.state.fold import Fold
from broadcaster.core.state.values import Rules

_CHANNEL, _PATH = "stock", "/v1/stock/stream"
_SETTINGS: dict[str, Any] = {
    "max_connections": 15_000,
    "channels": {_CHANNEL: {"path": _PATH, "state": "last", "start": "state", "maxlen": 1_000_000}},
}
_TYPES = ("stock-change", "price-change")
_REQUEST = "GET {}?from={} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
_END, _TAIL = b"event: stream.live", 256
_BATCH = 1000
_CHANCE = random.Random(1)
_CLIENT_PROCESSES, _SOURCES = 2, 50
_PATIENCE_S = 120.0
_HEAD = ("| figure | asked | measured |", "|---|---|---|")
_TITLE = (
    "# Results of states",
    "",
    "`make bench-state ARGS=--write` has written this. See",
    "[performance](../performance.md#states) for what the figures mean.",
    "",
)
_RESULTS = Path(__file__).parents[1] / "docs" / "results" / "states.md"


class Figure(NamedTuple):
    """A line of the results.

    Attributes:
        what: in words, with the unit.
        asked: at most this; None if nothing was asked.
        measured: what came out.
    """

    what: str
    asked: float | None
    measured: float


def _row(figure: Figure) -> str:
    asked = "" if figure.asked is None else f"{figure.asked:g}"
    missed = figure.asked is not None and figure.measured > figure.asked
    measured = f"{figure.measured:,.0f}" if figure.measured >= 100 else f"{figure.measured:.2f}"
    return f"| {figure.what} | {asked} | {measured}{' (missed)' if missed else ''} |"


# Folding


def _frame(number: int, type_: str, key: str, data: Any) -> Frame:
    # As a tailer makes it: nothing but the type is shared between events.
    id_ = EventId(1_790_000_000_000 + number, number % 3)
    return encode(Event(id_, sys.intern(type_), key, orjson.dumps(data)))


def _stock(keys: int) -> Iterator[tuple[str, str, Any]]:
    """Yield type, key and data: first each of both types of each key, and so on."""
    for number in count():
        place = number % (2 * keys) // 2
        data = {"petId": place, "oldStock": number, "newStock": number + 1, "shop": "Utrecht"}
        yield _TYPES[number % 2], f"pet-{place:06}", data


def _carts(keys: int) -> Iterator[tuple[str, str, Any]]:
    for number in count():
        cart = {"total": number, "items": {f"i{number % 7}": 1}}
        yield "cart", f"cart-{_CHANCE.randrange(keys)}", cart


def _answers(runs: int) -> Iterator[tuple[str, str, Any]]:
    for number in count():
        yield "token", f"run-{_CHANCE.randrange(runs)}", {"text": f"word{number % 97} "}


def _folding(events: int) -> Iterator[Figure]:
    runs = max(1, events * 7 // 40_000)  # which have 40 KB at the end, and more than 20 KB of late
    kinds = {
        "`last`, 10,000 keys with two types": (Rules("last", frozenset({"sold"})), _stock(10_000)),
        "`merge`, 1,000 keys": (Rules("merge"), _carts(1000)),
        f"`append`, {runs} texts of 20 to 40 KB": (Rules("append", append="text"), _answers(runs)),
    }
    calm_garbage_collection()  # as a node does when it starts
    for what, (rules, source) in kinds.items():
        fold, costs = Fold(rules), list[float]()
        for start in range(0, events, _BATCH):
            # They are just made, as if they were just read, so the caches have them.
            several = enumerate(islice(source, _BATCH), start)
            batch = [_frame(number, *event) for number, event in several]
            began_s = time.process_time()
            fold.apply(batch)
            costs.append((time.process_time() - began_s) / len(batch) * 1e6)
        late = costs[len(costs) // 2 :]
        yield Figure(f"µs per folded event: {what}", 3, statistics.median(late))
        yield Figure("the least of batches of a thousand", None, min(late))


def _memory(keys: int) -> Iterator[Figure]:
    for kind in ("last", "merge"):
        fold, number = Fold(Rules("last" if kind == "last" else "merge")), 0
        source = _stock(keys)
        tracemalloc.start()
        while number < 2 * keys:
            fold.apply([_frame(number + n, *event) for n, event in enumerate(islice(source, 500))])
            number += 500
        fold.cut().values.__len__()
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        values = sum(len(value.data) for of_key in fold.cut().values.values() for value in of_key)
        what = f"bytes per key beside its value: `{kind}`, {keys:,} keys with two types"
        yield Figure(what, 400, (taken - values) / fold.keys)


# Joining


class _Joiner:
    """Joins, and reads to the end of the state. The same sockets may be read by many."""

    def __init__(self, port: int, count: int, source: int, start: str) -> None:
        self.bytes = 0
        self._request = _REQUEST.format(_PATH, start).encode()
        self._port, self._count, self._source = port, count, source

    def join(self) -> float:
        """Open all connections, and return the seconds until the last byte of the last state."""
        epoll, buffer, tails = select.epoll(), bytearray(1 << 20), dict[int, bytes]()
        sockets, began_s = dict[int, socket.socket](), time.monotonic()
        for number in range(self._count):
            sock = socket.socket()
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((f"127.0.{1 + self._source}.{1 + number % _SOURCES}", 0))
            sock.connect(("127.0.0.1", self._port))
            sock.sendall(self._request)
            sockets[sock.fileno()], tails[sock.fileno()] = sock, b""
            epoll.register(sock.fileno(), select.EPOLLIN)
        while tails:
            if time.monotonic() - began_s > _PATIENCE_S:
                raise SystemExit(f"{len(tails)} clients were not sent all of the state")
            for fd, _ in epoll.poll(1.0):
                size = sockets[fd].recv_into(buffer)
                if not size:
                    raise SystemExit(f"a client was not served: {tails.get(fd, b'')!r}")
                self.bytes += size
                if fd in tails:
                    tails[fd] = (tails[fd] + buffer[max(0, size - _TAIL) : size])[-_TAIL:]
                    if _END in tails[fd]:
                        del tails[fd]
        seconds = time.monotonic() - began_s
        for sock in sockets.values():
            sock.close()
        epoll.close()
        return seconds


def _serve_joins(port: int, count: int, source: int, start: str) -> None:
    """Join at each line that is read, and print seconds and bytes."""
    raise_file_limit()
    for _ in sys.stdin:
        joiner = _Joiner(port, count, source, start)
        seconds = joiner.join()
        print(json.dumps({"seconds": seconds, "bytes": joiner.bytes}), flush=True)


def _published(server: Transport, keys: int) -> None:
    source = _stock(keys)
    for _ in range(-(-2 * keys // 1000)):
        events = islice(source, 1000)
        server.publisher.publish_many([Outgoing(_CHANNEL, t, k, data=d) for t, k, d in events])


def _commands(server: Transport) -> dict[str, int]:
    stats: Any = server.client.info("commandstats")
    return {name.removeprefix("cmdstat_"): of["calls"] for name, of in stats.items()}


_ALWAYS = {"xread", "hgetall", "hset", "expire", "time", "info"}
"""Commands of a node without clients, and ours. It proves each of its `XREAD` by an `XRANGE`."""


@contextmanager
def _pinged(port: int, found: list[float]) -> Iterator[None]:
    """Ask the node for its health all the while, and note how long each answer takes."""
    over = threading.Event()

    def ping() -> None:
        with socket.create_connection(("127.0.0.1", port)) as sock:
            while not over.is_set():
                began_s = time.monotonic()
                sock.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
                while b"\r\n\r\n" not in sock.recv(4096):
                    pass
                found.append(time.monotonic() - began_s)
                time.sleep(0.001)

    thread = threading.Thread(target=ping)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _joining(keys: int, rounds: int) -> Iterator[Figure]:
    with ExitStack() as stack:
        server = stack.enter_context(Transport(**_SETTINGS))
        _published(server, keys)
        (clients,) = _clients(stack, server.port, 1, 1)
        first = clients.ask(join=True)
        idle, pings, seconds = list[float](), list[float](), list[float]()
        with _pinged(server.port, idle):
            time.sleep(1.0)
        before = _commands(server)
        with _pinged(server.port, pings):
            seconds += [clients.ask(join=True)["seconds"] for _ in range(rounds)]
        grown = {name: n - before.get(name, 0) for name, n in _commands(server).items()}
    size = f"{keys:,} keys, {first['bytes'] / 1e6:.1f} MB"
    yield Figure(f"s of the first join to the last byte: {size}", 1, first["seconds"])
    yield Figure("s of a later one, the slowest", 1, max(seconds))
    others = sum(n for name, n in grown.items() if name not in _ALWAYS) - grown["xread"]
    yield Figure(f"Redis commands of {rounds} later joins", 0, max(0, others))
    yield Figure("ms that the node stops for others meanwhile, at most", None, max(pings) * 1e3)
    yield Figure("ms without a join, at most", None, max(idle) * 1e3)


def _clients(
    stack: ExitStack, port: int, count: int, processes: int, start: str = "state"
) -> list[Child]:
    command = ["bench.states", "--start", start, "--join", str(port), str(count // processes)]
    return [stack.enter_context(Child(*command, str(source))) for source in range(processes)]


# A herd


def _herd(keys: int, clients: int) -> Iterator[Figure]:
    with ExitStack() as stack:
        server = stack.enter_context(Transport(**_SETTINGS))
        _published(server, keys)
        (one,) = _clients(stack, server.port, 1, 1)
        state = one.ask(join=True)["bytes"]
        herd = _clients(stack, server.port, clients, _CLIENT_PROCESSES)
        before = server.process.cpu_s
        joined_s = _together(herd)
        cpu_s = server.process.cpu_s - before
        plain_s = _together(_clients(stack, server.port, clients, _CLIENT_PROCESSES, "latest"))
        plain_cpu_s = server.process.cpu_s - before - cpu_s
        floor = _clients(stack, _floor(stack, b"x" * (state - len(_END)) + _END), clients, 2)
        floor_s = _together(floor)
    size = f"{keys:,} keys, {state / 1e3:.0f} KB, {clients * state / 1e6:,.0f} MB in all"
    yield Figure(f"s until {clients:,} that join at once have the last byte: {size}", 3, joined_s)
    yield Figure("s of the node's CPU for it", None, cpu_s)
    yield Figure("s if they join without a state", None, plain_s)
    yield Figure("s of the node's CPU for that", None, plain_cpu_s)
    yield Figure("s of a loop of `send` with as many bytes", None, floor_s)


def _together(clients: list[Child]) -> float:
    for child in clients:
        child.tell(join=True)
    return max(float(child.answer()["seconds"]) for child in clients)


def _floor(stack: ExitStack, data: bytes) -> int:
    """Start a process that answers each connection with these bytes. Return its port."""
    child = stack.enter_context(Child("bench.states", "--floor", str(len(data))))
    return int(child.answer()["port"])


def _serve_floor(size: int) -> None:
    raise_file_limit()
    data = memoryview(b"x" * (size - len(_END)) + _END)
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    listener.setblocking(False)
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    epoll, left = select.epoll(), dict[int, tuple[socket.socket, int]]()
    epoll.register(listener.fileno(), select.EPOLLIN)
    while True:
        for fd, _ in epoll.poll():
            if fd == listener.fileno():
                with suppress(BlockingIOError):
                    while True:
                        sock, _ = listener.accept()
                        sock.setblocking(False)
                        left[sock.fileno()] = sock, 0
                        epoll.register(sock.fileno(), select.EPOLLIN)
                continue
            sock, sent = left[fd]
            with suppress(BlockingIOError):
                if sent < size:
                    sent += sock.send(data[sent : sent + 65536])
                elif not sock.recv(65536):
                    sock.close()
                    del left[fd]
                    continue
            left[fd] = sock, sent
            epoll.modify(fd, select.EPOLLOUT if sent < size else select.EPOLLIN)


@click.command()
@click.option("--keys", default=100_000, show_default=True, help="Of the large state.")
@click.option("--herd", nargs=2, default=(100, 5_000), help="Its keys, and clients.")
@click.option("--events", default=100_000, show_default=True, help="That are folded.")
@click.option("--rounds", default=5, show_default=True, help="Of joins.")
@click.option("--write", is_flag=True, help=f"Write docs/results/{_RESULTS.name}.")
@click.option("--join", type=int, nargs=3, default=None, hidden=True)
@click.option("--start", hidden=True)
@click.option("--floor", type=int, hidden=True)
def main(
    keys: int, herd: tuple[int, int], events: int, rounds: int, write: bool,
    join: tuple[int, int, int] | None, start: str, floor: int | None,
) -> None:  # fmt: skip
    """Measure, and print the figures beside those that were asked for: some two minutes."""
    if join is not None:
        _serve_joins(*join, start)
    elif floor is not None:
        _serve_floor(floor)
    else:
        _measure(keys, herd, events, rounds, write=write)


def _measure(keys: int, herd: tuple[int, int], events: int, rounds: int, *, write: bool) -> None:
    lines = list[str]()
    for line in _HEAD:
        print(line, flush=True)
    parts = (_folding(events), _memory(keys), _joining(keys, rounds), _herd(*herd))
    for figure in chain.from_iterable(parts):
        lines.append(_row(figure))
        print(lines[-1], flush=True)
    if write:
        _RESULTS.write_text("\n".join([*_TITLE, *_HEAD, *lines, ""]), "utf-8")


if __name__ == "__main__":
    main()
