"""The parts that all workloads share: their results, compared with targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from bench.measure import Load, Row, summary
from bench.servers import SERVERS, Server

BYTES = 180
"""Size of an event's data."""

Step = Callable[[str], object]
"""Is called with the step that begins, to show progress."""


class Scale(NamedTuple):
    """How much of everything.

    Attributes:
        rounds: of each measurement.
        seconds: of each round.
        clients: is multiplied with this.
    """

    rounds: int = 3
    seconds: float = 2.0
    clients: float = 1.0

    def of(self, clients: int) -> int:
        """So many clients, at this scale."""
        return max(10, round(clients * self.clients))


class Target(NamedTuple):
    """A figure to reach.

    Attributes:
        what: in words, with the unit.
        bound: at most this, or at least.
        measured: what came out; None if the peer to compare with was not there.
        least: the bound is the least that will do.
    """

    what: str
    bound: float
    measured: float | None
    least: bool = False

    def result(self) -> Row:
        """For the results, with how far it was missed: 0.2 is a fifth."""
        missed_by = 0.0
        if self.measured is not None:
            ratio = self.bound / max(self.measured, 1e-9) if self.least else 0.0
            if not self.least:
                ratio = self.measured / self.bound if self.bound else 1.0 + self.measured
            missed_by = max(0.0, ratio - 1.0)
        return {**self._asdict(), "met": self.measured is not None and missed_by == 0.0,
                "missed_by": missed_by}  # fmt: skip


class Found(NamedTuple):
    """The result of a workload: rows of figures, each with a `server`, and the targets."""

    rows: list[Row]
    targets: list[Target]


class Bench:
    """Servers with clients, that take turns."""

    def __init__(self, kinds: Sequence[str], clients: int, stack: ExitStack, step: Step) -> None:
        """Start them.

        Args:
            kinds: of `SERVERS`.
            clients: of each.
            stack: leaving it ends them.
            step: is called with each step.
        """
        self.step = step
        self.loads: dict[str, Load] = {}
        for kind in kinds:
            self.add(SERVERS[kind](), clients, stack)

    def add(self, server: Server, clients: int, stack: ExitStack) -> Load:
        """Start one more, with its clients."""
        self.step(f"connecting {clients:,} clients to {server.name}")
        load = Load(stack.enter_context(server), clients, stack)
        load.open(clients)
        load.warm_up()
        self.loads[server.kind] = load
        return load

    def rounds(self, scale: Scale, rate: float, **rates: float) -> list[Row]:
        """Measure all in turns; a row for each.

        Args:
            scale: how often and how long.
            rate: events per second.
            rates: of those that get another.
        """
        rows: dict[str, list[Row]] = {kind: [] for kind in self.loads}
        for number in range(1, scale.rounds + 1):
            for kind, load in self.loads.items():
                own = rates.get(kind, rate)
                self.step(f"round {number}: {own:,g} events/s by {load.server.name}")
                rows[kind].append(load.measure(own, scale.seconds, BYTES))
        return [
            {"server": kind, "clients": load.clients, "rate": rates.get(kind, rate)}
            | summary(rows[kind])
            for kind, load in self.loads.items()
        ]

    def check_sinks(self) -> None:
        """Stop the hub's nodes, and check that they used the intended sinks."""
        for load in self.loads.values():
            check = getattr(load.server, "check_sink", None)
            if check and load.server.kind != "workers":
                load.close()
                check()


def figure(rows: Sequence[Row], server: str, name: str) -> float | None:
    """A figure of a server, None if it was not measured."""
    return next((row[name] for row in rows if row["server"] == server), None)


def ratio(rows: Sequence[Row], name: str, server: str, other: str) -> float | None:
    """How many times the other's figure the server's is."""
    one, two = figure(rows, server, name), figure(rows, other, name)
    return one / two if one is not None and two else None


def missed(rows: Sequence[Row], servers: Sequence[str] = ("transport", "asgi", "workers")) -> Any:
    """How many clients of ours did not get every event once."""
    return sum(row["missed"] for row in rows if row["server"] in servers)
