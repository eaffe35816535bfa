"""What fanning out costs: CPU per delivery, latency, and memory per idle client.

`python -m bench.fanout` measures a real node in a process of its own, with either sink, and beside
them the floor: a Python loop of `socket.send`. All three have the same clients, get the same bytes,
and take turns, round by round, because other work on the machine comes and goes: ratios within a
run mean more than any figure does. Linux only.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bench.child import Child
from bench.events import CHANNEL, LEAST_BYTES, TYPE, paced, stamped
from bench.report import judge, machine, report
from broadcaster import EmbeddedRedis, Outgoing, SyncPublisher

SINKS = ("transport", "asgi")
SERVERS = (*SINKS, "floor")
RESULTS = Path(__file__).parent / "results" / "fanout.json"

_WARM_UP = {"rate": 50.0, "seconds": 0.5}
_WARM_CLIENTS = 50
_PATIENCE_S = 15.0
_SETTLE_S = 0.5
_MOST_CLIENTS = 19_000

Step = Callable[[str], None]
Row = dict[str, Any]


class Bench:
    """A server under measurement, its clients, and what publishes to it."""

    def __init__(self, server: str, stack: ExitStack) -> None:
        """Start the processes; leaving the stack ends them."""
        self.server = server
        environment = dict(os.environ)
        self._publisher: SyncPublisher | None = None
        self.redis_url = ""
        if server == "floor":
            self.process = stack.enter_context(Child(environment, "bench.floor"))
        else:
            redis = stack.enter_context(EmbeddedRedis())
            self.redis_url = redis.url
            self._publisher = stack.enter_context(SyncPublisher(redis.url))
            self.process = stack.enter_context(Child(environment, "bench.node", server, redis.url))
        port = str(self.process.answer()["port"])
        self.load = stack.enter_context(Child(environment, "bench.load", "127.0.0.1", port))

    def open(self, clients: int) -> None:
        """Have so many clients."""
        self.load.ask(open=clients)

    def measure(self, rate: float, seconds: float, size: int) -> Row:
        """Send events at a rate, and tell what it cost the server and when they arrived."""
        self.load.tell(expect=max(1, round(rate * seconds)), timeout_s=seconds + _PATIENCE_S)
        start_ns, cpu_s = time.monotonic_ns(), self.process.cpu_s
        own_cpu_s = time.process_time()
        self._send(rate, seconds, size)
        own_cpu_s = time.process_time() - own_cpu_s
        read = self.load.answer()
        cpu_s = self.process.cpu_s - cpu_s
        wall_s = max(seconds, (read["last_ns"] - start_ns) / 1e9)
        return {
            "cpu_us_per_delivery": cpu_s * 1e6 / max(1, read["deliveries"]),
            "server_cpu_percent": cpu_s / wall_s * 100,
            "load_cpu_percent": read["cpu_s"] / wall_s * 100,
            "publisher_cpu_percent": own_cpu_s / wall_s * 100,
            "deliveries_per_s": read["deliveries"] / wall_s,
            "events_per_read": read["deliveries"] / max(1, read["reads"]),
            "complete_clients": read["complete"],
            **{name: read[name] for name in ("p50_ms", "p99_ms", "max_ms")},
        }

    def _send(self, rate: float, seconds: float, size: int) -> None:
        if self._publisher is None:
            self.process.ask(rate=rate, seconds=seconds, bytes=size)
            return
        for due in paced(rate, seconds):
            self._publisher.publish_many(
                Outgoing(CHANNEL, TYPE, data=stamped(size)) for _ in range(due)
            )

    def used_sink(self) -> str:
        """Stop the node, and tell which sink it has used."""
        self.load.stop()
        self.process.stop()
        sinks = self.process.answer()
        return "+".join(name for name, count in sorted(sinks.items()) if count)


def measure_idle(counts: Sequence[int], step: Step) -> list[Row]:
    """Memory per idle client of fresh nodes, by both sinks, for each number of clients."""
    rows = []
    for sink in SINKS:
        with ExitStack() as stack:
            step(f"starting a node, {sink} sink")
            bench = Bench(sink, stack)
            bench.open(_WARM_CLIENTS)  # loads what is loaded with the first client
            bench.open(0)
            time.sleep(_SETTLE_S)
            empty = bench.process.pss_bytes()
            for count in sorted(counts):
                step(f"{count:,} idle clients, {sink} sink")
                bench.open(count)
                time.sleep(_SETTLE_S)
                grown = bench.process.pss_bytes() - empty
                rows.append(
                    {
                        "server": sink,
                        "clients": count,
                        "empty_node_bytes": empty,
                        "bytes_per_client": grown / count,
                    }
                )
            _check_sink(bench)
    return rows


def measure_fan_out(
    clients: int, rates: Sequence[float], seconds: float, size: int, rounds: int, step: Step
) -> list[Row]:
    """Rounds of all servers in turn, for each rate."""
    rows = []
    with ExitStack() as stack:
        benches = []
        for server in SERVERS:
            step(f"connecting {clients:,} clients: {server}")
            benches.append(Bench(server, stack))
            benches[-1].open(clients)
            benches[-1].measure(**_WARM_UP, size=size)
        for number in range(1, rounds + 1):
            for rate in rates:
                for bench in benches:
                    step(f"round {number}: {rate:g} events/s, {bench.server}")
                    measured = bench.measure(rate, seconds, size)
                    rows.append(
                        {"server": bench.server, "rate": rate, "clients": clients} | measured
                    )
        for bench in benches[: len(SINKS)]:
            _check_sink(bench)
    return rows


def _check_sink(bench: Bench) -> None:
    used = bench.used_sink()
    if used != bench.server:
        raise click.ClickException(f"the node used the sink {used!r}, not {bench.server!r}")


@click.command()
@click.option("--clients", type=click.IntRange(1, _MOST_CLIENTS), default=1000, show_default=True)
@click.option(
    "--rate", "rates", type=click.FloatRange(0.1, 50_000), multiple=True, default=(10, 1000),
    show_default=True, help="Events per second; repeatable.",
)  # fmt: skip
@click.option("--seconds", type=click.FloatRange(0.1), default=2.0, show_default=True)
@click.option(
    "--bytes", "size", type=click.IntRange(LEAST_BYTES, 1_000_000), default=180,
    show_default=True, help="Size of an event's data.",
)  # fmt: skip
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option(
    "--idle", type=click.IntRange(1, _MOST_CLIENTS), multiple=True, default=(1000, 5000),
    show_default=True, help="Idle clients to measure memory with; repeatable.",
)  # fmt: skip
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), default=RESULTS,
    help="Where the results go; bench/results/fanout.json if not given.",
)  # fmt: skip
def main(
    clients: int,
    rates: tuple[float, ...],
    seconds: float,
    size: int,
    rounds: int,
    idle: tuple[int, ...],
    output: Path,
) -> None:
    """Measure what fanning out costs, with both sinks and beside the floor."""
    console = Console() if sys.stdout.isatty() else Console(width=140)
    steps = len(SINKS) * (1 + len(idle)) + len(SERVERS) * (1 + rounds * len(rates))
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=steps)

        def step(doing: str) -> None:
            progress.update(task, description=doing, advance=1)

        results: Row = {
            "machine": machine(),
            "parameters": {
                "clients": clients,
                "rates": rates,
                "seconds": seconds,
                "bytes": size,
                "rounds": rounds,
            },
            "idle": measure_idle(idle, step),
            "fan_out": measure_fan_out(clients, rates, seconds, size, rounds, step),
        }
    results["targets"] = judge(results)
    report(results, console)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(_short(results), indent=1) + "\n")


def _short(value: Any) -> Any:
    """The same with numbers of four significant digits: more would not be true."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {name: _short(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_short(inner) for inner in value]
    return value


if __name__ == "__main__":
    main()
