"""Figures of a server under load: CPU time from the kernel, latency from publish to read."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any

from bench.child import Child
from bench.servers import Server

DISTURBED = 0.25
"""A spread of CPU time above this part of the median: something else was running."""

_PATIENCE_S = 15.0
_PER_PROCESS = 8_000

Row = dict[str, Any]


class Load:
    """The clients of a server, in as many processes as it takes."""

    def __init__(self, server: Server, clients: int, stack: ExitStack, *paths: str) -> None:
        """Start the processes, without a client.

        Args:
            server: to connect to.
            clients: how many there will be at most.
            stack: leaving it ends the processes.
            paths: to read from instead of the server's, in turn; `{n}` is the client's number.
        """
        self.server = server
        count = -(-clients // _PER_PROCESS)
        self._processes = [
            stack.enter_context(Child("bench.load", "127.0.0.1", str(server.port), str(number)))
            for number in range(count)
        ]
        self._paths = paths or (server.path,)
        self.clients = 0

    def open(
        self,
        clients: int,
        *,
        at_once: int = 200,
        cursor: str = "",
        events: int = 0,
        ready: str = "",
    ) -> float:
        """Connect so many clients. See `bench.load`.

        Returns:
            Seconds until the last one was there.
        """
        head = "HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
        head += f"Last-Event-ID: {cursor}\r\n\r\n" if cursor else "\r\n"
        self.clients, share = clients, -(-clients // len(self._processes))
        for number, process in enumerate(self._processes):
            first = number * share
            process.tell(
                open=min(share, clients - first),
                requests=[f"GET {path} {head}" for path in self._paths],
                ready=ready or self.server.ready,
                first=first,
                at_once=at_once,
                events=events,
            )
        return max(float(answer["seconds"]) for answer in self._answers())

    def close(self) -> None:
        """Have no clients."""
        for process in self._processes:
            process.ask(close=True)
        self.clients = 0

    def expect(self, events: int, timeout_s: float) -> None:
        """Begin to read until each client has so many events."""
        for process in self._processes:
            process.tell(expect=events, timeout_s=timeout_s)

    def read(self) -> Row:
        """The result of `expect`."""
        answers = self._answers()
        ages = sorted(
            (age, answer["reads"] / len(answer["ages_ms"]))
            for answer in answers
            for age in answer["ages_ms"]
        )
        sums = {
            name: sum(answer[name] for answer in answers)
            for name in ("deliveries", "complete", "reads", "cpu_s")
        }
        return {
            **sums,
            "last_ns": max(answer["last_ns"] for answer in answers),
            "p50_ms": _quantile(ages, 0.5),
            "p99_ms": _quantile(ages, 0.99),
            "max_ms": _quantile(ages, 1.0),
        }

    def listen(self, seconds: float) -> Row:
        """Wait, and return when the first and the last client received something."""
        for process in self._processes:
            process.tell(listen=seconds)
        answers = self._answers()
        return {
            "heard": sum(answer["heard"] for answer in answers),
            "first_s": min((a["first_s"][0] for a in answers if a["first_s"]), default=0.0),
            "last_s": max((a["last_s"][0] for a in answers if a["last_s"]), default=0.0),
        }

    def _answers(self) -> list[Row]:
        return [process.answer() for process in self._processes]

    def measure(self, rate: float, seconds: float, size: int) -> Row:
        """Have the server's publisher send at a rate to all clients, and see what it costs."""
        events = max(1, round(rate * seconds))
        return self.measured(lambda: self.server.send(rate, seconds, size), events, seconds)

    def measured(self, send: Callable[[], object], events: int, seconds: float) -> Row:
        """The same for any way of sending.

        Args:
            send: sends all events.
            events: how many each client gets.
            seconds: for how long.
        """
        self.expect(events, seconds + _PATIENCE_S)
        process, start_ns = self.server.process, time.monotonic_ns()
        cpu_s, own_cpu_s = process.cpu_s, time.process_time()
        send()
        own_cpu_s = time.process_time() - own_cpu_s
        read = self.read()
        cpu_s = process.cpu_s - cpu_s
        wall_s = max(seconds, (read["last_ns"] - start_ns) / 1e9)
        return {
            "cpu_us": cpu_s * 1e6 / max(1, read["deliveries"]),
            "server_cpu_percent": cpu_s / wall_s * 100,
            "load_cpu_percent": read["cpu_s"] / wall_s * 100,
            "publisher_cpu_percent": own_cpu_s / wall_s * 100,
            "deliveries_per_s": read["deliveries"] / wall_s,
            "events_per_read": read["deliveries"] / max(1, read["reads"]),
            "missed": self.clients - read["complete"],
            **{name: read[name] for name in ("p50_ms", "p99_ms", "max_ms")},
        }

    def warm_up(self) -> None:
        """Let the server do a little of everything."""
        self.measure(rate=50.0, seconds=0.5, size=180)


def _quantile(ages: Sequence[tuple[float, float]], quantile: float) -> float:
    """Of values and their weights, in order."""
    left = quantile * sum(weight for _, weight in ages) - 1e-9
    for age, weight in ages:
        left -= weight
        if left <= 0:
            return age
    return ages[-1][0] if ages else 0.0


def summary(rounds: Iterable[Row]) -> Row:
    """The medians of rounds, the spread of their CPU time, and what was worst."""
    rows = list(rounds)
    result: Row = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    if "cpu_us" in result:
        cpu = [row["cpu_us"] for row in rows]
        result["cpu_us_least"], result["cpu_us_most"] = min(cpu), max(cpu)
        result["disturbed"] = (max(cpu) - min(cpu)) / result["cpu_us"] > DISTURBED
    for worst in {"max_ms", "missed"} & result.keys():
        result[worst] = max(row[worst] for row in rows)
    return {"rounds": len(rows), **result}
