"""How old the values of a slow client become: `python -m bench.slow`.

A client reads 10 KB/s of a channel with `coalesce`, over loopback, with a small receive buffer.
2,000 events/s change 5,000 keys, and one of these has a fifth of the events. The same case is
simulated in `tests/core/resume/test_passing.py`. Node, Redis and this command are processes of
their own.
"""

from __future__ import annotations

import json
import random
import re
import socket
import time
from bisect import bisect_right
from collections.abc import Sequence
from operator import itemgetter
from threading import Thread
from typing import Any

import click

from bench.events import paced
from bench.servers import Transport
from broadcaster import Outgoing

_PATH = "/v1/inventory/stream"
_RECEIVE_BYTES = 8192
_SEGMENT_BYTES = 1400  # as on a network: those of loopback are larger than the receive buffer
_FILL = "x" * 28  # an event has about 110 bytes
_EVENT = re.compile(rb"event: (\S+)\ndata: (.*)\n")


class Reader(Thread):
    """A client that reads so many bytes in a second.

    Attributes:
        read: the bytes, and when each piece of them was read.
    """

    def __init__(self, port: int, bytes_s: float, query: str) -> None:
        """Connect, with a small receive buffer."""
        super().__init__(daemon=True)
        self.read: list[tuple[float, bytes]] = []
        self._bytes_s, self._over = bytes_s, False
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT_BYTES)
        self._socket.connect(("127.0.0.1", port))
        self._socket.sendall(f"GET {_PATH}{query} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())

    def run(self) -> None:
        """Read until `stop`."""
        begun_s, count = time.monotonic(), 0
        while not self._over and (piece := self._socket.recv(int(self._bytes_s / 10))):
            self.read.append((time.monotonic(), piece))
            count += len(piece)
            begun_s = max(begun_s, time.monotonic() - count / self._bytes_s - 0.2)  # saves nothing
            time.sleep(max(0.0, begun_s + count / self._bytes_s - time.monotonic()))

    def stop(self) -> None:
        """Read no more."""
        self._over = True
        self.join()
        self._socket.close()

    def events(self) -> list[tuple[float, str, Any]]:
        """Return the events: when the last byte was read, type and data."""
        ends, size = list[tuple[int, float]](), 0
        for at_s, piece in self.read:
            size += len(piece)
            ends.append((size, at_s))
        found = []
        for match in _EVENT.finditer(b"".join(piece for _, piece in self.read)):
            at = bisect_right(ends, match.end() - 1, key=itemgetter(0))
            found.append((ends[at][1], match[1].decode(), json.loads(match[2])))
        return found


class Changes:
    """Events of many keys, and when each was published."""

    def __init__(self, keys: int) -> None:
        """Begin without an event."""
        self._random, self._keys, self._count = random.Random(7), keys, 0
        self.at_s: dict[int, list[tuple[int, float]]] = {}

    def some(self, keys: Sequence[int] = (), count: int = 0) -> list[Outgoing]:
        """Return changes of these keys, or so many."""
        draw, made = self._random, []
        for key in keys or (
            0 if draw.random() < 0.2 else draw.randrange(self._keys) for _ in range(count)
        ):
            self._count += 1
            self.at_s.setdefault(key, []).append((self._count, time.monotonic()))
            data = {"key": key, "n": self._count, "fill": _FILL}
            made.append(Outgoing("inventory", "t", f"k{key}", data=data))
        return made

    def stalest_s(self, events: Sequence[tuple[float, str, Any]], begun_s: float) -> float:
        """Return the longest time for which a client had an old value of a key.

        Args:
            events: those that it got.
            begun_s: when it came. What was old before does not count.
        """
        have, stalest_s, end_s = dict[int, int](), 0.0, events[-1][0]
        last = [(end_s, "t", {"key": key, "n": 0}) for key in self.at_s]
        for at_s, type_, data in (*events, *last):
            if type_ == "t":
                of_key = self.at_s[data["key"]]
                first = bisect_right(of_key, have.get(data["key"], 0), key=itemgetter(0))
                if first < len(of_key):
                    stalest_s = max(stalest_s, at_s - max(of_key[first][1], begun_s))
                have[data["key"]] = max(have.get(data["key"], 0), data["n"])
        return stalest_s


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seconds", default=170.0, show_default=True)
@click.option("--scale", default=1.0, show_default=True, help="All sizes, but not times, by this.")
@click.option("--begins", type=click.Choice(["live", "state"]), default="live", show_default=True)
@click.option("--window-events", default=100_000, show_default=True)
def main(seconds: float, scale: float, begins: str, window_events: int) -> None:
    """Print how long a pass takes, and how old a value becomes."""
    keys, rate, bytes_s = int(5000 * scale), 2000 * scale, 10_000 * scale
    channel = {
        "path": _PATH,
        "state": "last",
        "coalesce": True,
        "window_events": int(window_events * scale),
    }
    changes = Changes(keys)
    with Transport(channels={"inventory": channel}) as server:
        server.publisher.publish_many(changes.some(range(keys)))
        begun_s = time.monotonic()
        reader = Reader(server.port, bytes_s, "?from=state" if begins == "state" else "")
        reader.start()
        for due in paced(rate, seconds):
            server.publisher.publish_many(changes.some(count=due))
        reader.stop()
    events = reader.events()
    told = [at_s for at_s, type_, _ in events if type_ in ("stream.superseded", "stream.state")]
    ends = [*told[1:], time.monotonic()]
    took_s = [end_s - at_s for at_s, end_s in zip(told, ends, strict=True)]
    count = sum(data["events"] for _, type_, data in events if type_ == "stream.superseded")
    size = sum(len(piece) for _, piece in reader.read)
    click.echo(f"read             {size / (events[-1][0] - begun_s):,.0f} bytes/s")
    click.echo(f"first pass after {told[0] - begun_s:.0f} s" if told else "no pass")
    click.echo(f"passes took      {', '.join(f'{one:.0f}' for one in took_s)} s, the last one cut")
    click.echo(f"stalest value    {changes.stalest_s(events, begun_s):.0f} s")
    click.echo(f"superseded       {count:,} events")


if __name__ == "__main__":
    main()
