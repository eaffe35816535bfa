"""Many clients in one process. They use raw sockets and one epoll, to cost as little as possible.

Arguments are the server's address and the number of this process among several. It takes commands,
a line of JSON each, and answers each with a line of JSON:

    {"open": 1000, "requests": ["GET …"], "ready": "event: stream.live"}   have so many clients
    {"expect": 30, "timeout_s": 10}          read until each client has got so many events
    {"listen": 5}                            wait so long, and return when first bytes came
    {"close": true}                          have none

Clients are numbered through all processes: number n sends request n modulo how many there are, with
n in the place of `{n}`.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections.abc import Iterable
from typing import Any

from bench.events import MARK, STAMP_END
from broadcaster.commands.host import raise_file_limit

_MOST_FILES = 20_000
_OPEN_TIMEOUT_S = 60.0
_SURPLUS_S = 0.05
_SOURCES = 50
_QUANTILES = 1000
# The sender pays for waking a process that waits in epoll, once per event and client.
# No client on another machine does. So we sleep instead, which adds up to this to each latency.
_NAP_S = 0.001


class Clients:
    """Clients of one server, known by their file descriptors."""

    def __init__(self, host: str, port: int, process: int) -> None:
        self._address = (host, port)
        self._process = process
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._counts = [0] * (_MOST_FILES + 1)
        self._buffer = bytearray(256 * 1024)

    def close(self) -> dict[str, Any]:
        """Leave, all at once."""
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()
        self._epoll.close()
        self._epoll = select.epoll()
        return {}

    def open(
        self, count: int, requests: list[str], ready: str, first: int, at_once: int, events: int = 0
    ) -> dict[str, Any]:
        """Connect clients, and wait until each is live or has received so many events.

        Args:
            count: how many, with those that are here.
            requests: what they send, in turn; `{n}` is the client's number.
            ready: what the answer has in it when the server regards the client as there.
            first: the number of this process's first client.
            at_once: how many may wait for that at a time.
            events: how many events each gets at least before it counts as there.
        """
        start_s, numbers = time.monotonic(), iter(range(first + len(self._sockets), first + count))
        waiting: dict[int, bytes] = {}
        seconds: list[float] = []
        while len(self._sockets) < count or waiting:
            for number in numbers:
                request = requests[number % len(requests)].replace("{n}", str(number))
                waiting[self._connect(request)] = b""
                if len(waiting) >= at_once:
                    break
            for fd in self._ready(waiting, ready.encode(), events):
                del waiting[fd]
                seconds.append(time.monotonic() - start_s)
            if time.monotonic() - start_s > _OPEN_TIMEOUT_S:
                raise SystemExit(f"{len(waiting)} clients were not told that they are live")
        return {"seconds": max(seconds, default=0.0)}

    def _ready(self, waiting: dict[int, bytes], ready: bytes, events: int) -> Iterable[int]:
        found = []
        for fd, _ in self._epoll.poll(1.0):
            piece = self._sockets[fd].recv(65536)
            if not piece:
                raise SystemExit(f"a client was not served: {waiting.get(fd, b'')!r}")
            if fd in waiting:
                waiting[fd] += piece
                if ready in waiting[fd] and waiting[fd].count(MARK) >= events:
                    found.append(fd)
        return found

    def _connect(self, request: str) -> int:
        sock = socket.socket()
        # Several addresses, for one has no more than some 28,000 free ports.
        host = f"127.0.{1 + self._process}.{1 + len(self._sockets) % _SOURCES}"
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((host, 0))
        sock.connect(self._address)
        sock.sendall(request.encode())
        sock.setblocking(False)
        self._sockets[sock.fileno()] = sock
        self._epoll.register(sock.fileno(), select.EPOLLIN)
        return sock.fileno()

    def expect(self, events: int, timeout_s: float) -> dict[str, Any]:
        """Read until each client has received so many events, and return the figures.

        There is one latency per read, that of its oldest event. If a read has one event, every
        event is measured. If it has several, the figure is too high rather than too low.
        """
        self._counts = [0] * len(self._counts)
        cpu_s, deadline_s = time.process_time(), time.monotonic() + timeout_s
        goal, got, last_ns = events * len(self._sockets), 0, 0
        ages: list[int] = []
        while got < goal and (left_s := deadline_s - time.monotonic()) > 0:
            if found := self._read(left_s, ages):
                got += found
                last_ns = time.monotonic_ns()
        cpu_s = time.process_time() - cpu_s
        surplus = self._read(_SURPLUS_S, [])
        return {
            "deliveries": got + surplus,
            "complete": sum(self._counts[fd] == events for fd in self._sockets),
            "reads": len(ages),
            "cpu_s": cpu_s,
            "last_ns": last_ns,
            "ages_ms": _quantiles(ages),
        }

    def _read(self, timeout_s: float, ages: list[int]) -> int:
        sockets, counts, buffer, found = self._sockets, self._counts, self._buffer, 0
        time.sleep(min(timeout_s, _NAP_S))
        for fd, _ in self._epoll.poll(0):
            size = sockets[fd].recv_into(buffer)
            now_ns = time.monotonic_ns()
            if not size:
                raise SystemExit("the server has closed a connection")
            count = buffer.count(MARK, 0, size)
            if count:
                counts[fd] += count
                found += count
                at = buffer.find(MARK, 0, size)
                if at + STAMP_END <= size:  # else the read has cut the time
                    ages.append(now_ns - int(buffer[at + 1 : at + STAMP_END]))
        return found

    def listen(self, seconds: float) -> dict[str, Any]:
        """Wait, and return when the first and the last client received their first bytes."""
        start_s, first_s = time.monotonic(), dict.fromkeys(self._sockets, 0.0)
        while (now_s := time.monotonic() - start_s) < seconds:
            for fd, _ in self._epoll.poll(min(0.01, seconds - now_s)):
                if not self._sockets[fd].recv_into(self._buffer):
                    raise SystemExit("the server has closed a connection")
                first_s[fd] = first_s[fd] or time.monotonic() - start_s
        heard = sorted(value for value in first_s.values() if value)
        return {"heard": len(heard), "first_s": heard[:1], "last_s": heard[-1:]}


def _quantiles(ages: list[int]) -> list[float]:
    """A sorted sample of the distribution. The last value is the greatest."""
    ages.sort()
    count = min(len(ages), _QUANTILES)
    return [ages[(n + 1) * len(ages) // count - 1] / 1e6 for n in range(count)]


def main() -> None:
    """Obey until the commands end."""
    raise_file_limit()
    clients = Clients(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    for line in sys.stdin:
        command = json.loads(line)
        if "open" in command:
            answer = clients.open(command.pop("open"), **command)
        elif "expect" in command:
            answer = clients.expect(command["expect"], command["timeout_s"])
        elif "listen" in command:
            answer = clients.listen(command["listen"])
        else:
            answer = clients.close()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
