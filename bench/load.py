"""Many clients in one process, as cheap as Python makes them: raw sockets and one epoll.

It takes commands, a line of JSON each, and answers each with a line of JSON:

    {"open": 1000}                           have so many clients, all of them live
    {"expect": 30, "timeout_s": 10}          read until each client has got so many events
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from typing import Any

from bench.events import MARK, PATH, STAMP_END
from broadcaster.serving import raise_file_limit

_MOST_FILES = 20_000
_WAVE = 200
_OPEN_TIMEOUT_S = 60.0
_SURPLUS_S = 0.05
_SOURCES = 50
# A process that waits in epoll makes who sends to it pay for waking it, once per event and client.
# No client on another machine does. So we sleep instead, which adds up to this to each latency.
_NAP_S = 0.001
_REQUEST = f"GET {PATH} HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n".encode()


class Clients:
    """Clients of one server, numbered by their file descriptors."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._counts = [0] * (_MOST_FILES + 1)
        self._buffer = bytearray(256 * 1024)

    def open(self, count: int) -> dict[str, Any]:
        """Have so many clients that were told that they are live."""
        start_s = time.monotonic()
        while len(self._sockets) > count:
            fd, sock = self._sockets.popitem()
            self._epoll.unregister(fd)
            sock.close()
        while len(self._sockets) < count:
            self._open_wave(min(_WAVE, count - len(self._sockets)), start_s + _OPEN_TIMEOUT_S)
        return {"clients": len(self._sockets), "seconds": time.monotonic() - start_s}

    def _open_wave(self, count: int, deadline_s: float) -> None:
        waiting: dict[int, bytes] = {}
        for _ in range(count):
            sock = self._connect()
            self._sockets[sock.fileno()] = sock
            waiting[sock.fileno()] = b""
            self._epoll.register(sock.fileno(), select.EPOLLIN)
        while waiting:
            for fd, _ in self._epoll.poll(1.0):
                piece = self._sockets[fd].recv(65536)
                if not piece:
                    raise SystemExit(f"a client was not served: {waiting.get(fd, b'')!r}")
                if fd in waiting:
                    waiting[fd] += piece
                    if b"event: stream.live" in waiting[fd]:
                        del waiting[fd]
            if time.monotonic() > deadline_s:
                raise SystemExit(f"{len(waiting)} clients were not told that they are live")

    def _connect(self) -> socket.socket:
        sock = socket.socket()
        # Several addresses, for one has no more than some 28,000 free ports.
        sock.bind((f"127.0.0.{2 + len(self._sockets) % _SOURCES}", 0))
        sock.connect(self._address)
        sock.sendall(_REQUEST)
        sock.setblocking(False)
        return sock

    def expect(self, events: int, timeout_s: float) -> dict[str, Any]:
        """Read until each client has got so many events, and tell how it went.

        Latencies are one per read, of the oldest event in it: where each read has one event, that
        is every event; where it has several, it errs to the high side.
        """
        self._counts = [0] * len(self._counts)
        cpu_s, deadline_s = time.process_time(), time.monotonic() + timeout_s
        goal, got, last_ns = events * len(self._sockets), 0, 0
        ages: list[int] = []
        while got < goal and (left_s := deadline_s - time.monotonic()) > 0:
            got += self._read(left_s, ages)
            last_ns = time.monotonic_ns()
        cpu_s = time.process_time() - cpu_s
        surplus = self._read(_SURPLUS_S, [])
        ages.sort()
        return {
            "deliveries": got + surplus,
            "complete": sum(self._counts[fd] == events for fd in self._sockets),
            "reads": len(ages),
            "cpu_s": cpu_s,
            "last_ns": last_ns,
            "p50_ms": _quantile_ms(ages, 0.5),
            "p99_ms": _quantile_ms(ages, 0.99),
            "max_ms": _quantile_ms(ages, 1.0),
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


def _quantile_ms(ages: list[int], quantile: float) -> float:
    return ages[min(len(ages) - 1, int(len(ages) * quantile))] / 1e6 if ages else 0.0


def main() -> None:
    """Obey until the commands end."""
    raise_file_limit()
    clients = Clients(sys.argv[1], int(sys.argv[2]))
    for line in sys.stdin:
        command = json.loads(line)
        if "open" in command:
            answer = clients.open(command["open"])
        else:
            answer = clients.expect(command["expect"], command["timeout_s"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
