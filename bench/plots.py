"""The results as plots, SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

from bench.measure import Row
from bench.servers import NAMES

_COLORS = {"transport": "#1668b8", "asgi": "#7fb2e5", "workers": "#0b3c6f", "floor": "#8a8a8a"}
_COLORS |= {"nchan": "#d98032", "handmade": "#b03a5b"}
_OTHERS = "#666633"


def draw(workloads: Sequence[Row], directory: Path) -> None:
    """Draw what there is, and note in each workload the names of its plots."""
    directory.mkdir(parents=True, exist_ok=True)
    mpl.rcParams |= {"svg.hashsalt": "bench", "svg.fonttype": "none", "font.size": 9}
    for workload in workloads:
        for name, plot in _PLOTS.get(workload["number"], {}).items():
            figure, axes = plt.subplots(figsize=(6.4, 3.0))
            plot(axes, workload["rows"])
            axes.spines[["top", "right"]].set_visible(False)
            figure.tight_layout()
            figure.savefig(directory / f"{name}.svg", metadata={"Date": None})
            plt.close(figure)
            workload.setdefault("plots", []).append(name)


def _cpu(axes: Any, rows: Sequence[Row]) -> None:
    names = [NAMES[row["server"]] for row in rows]
    middle = [row["cpu_us"] for row in rows]
    spread = [
        [row["cpu_us"] - row["cpu_us_least"] for row in rows],
        [row["cpu_us_most"] - row["cpu_us"] for row in rows],
    ]
    colors = [_COLORS.get(row["server"], _OTHERS) for row in rows]
    axes.barh(names, middle, xerr=spread, color=colors, height=0.6, ecolor="#444444")
    axes.invert_yaxis()
    axes.set_xlabel(f"CPU per delivery in µs, {rows[0]['clients']:,} clients")


def _latency(axes: Any, rows: Sequence[Row]) -> None:
    names = [NAMES[row["server"]] for row in rows]
    colors = [_COLORS.get(row["server"], _OTHERS) for row in rows]
    axes.barh(names, [row["p99_ms"] for row in rows], color=colors, height=0.6, alpha=0.35)
    axes.barh(names, [row["p50_ms"] for row in rows], color=colors, height=0.6)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(left=1)
    axes.set_xlabel("from publish to read in ms: median (dark), p99 (light)")


def _lines(name: str, scale: float, label: str) -> Callable[[Any, Sequence[Row]], None]:
    def plot(axes: Any, rows: Sequence[Row]) -> None:
        for server in dict.fromkeys(row["server"] for row in rows):
            mine = [row for row in rows if row["server"] == server]
            axes.plot(
                [row["clients"] for row in mine],
                [row[name] / scale for row in mine],
                "o-",
                color=_COLORS.get(server, _OTHERS),
                label=NAMES[server],
            )
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("clients")
        axes.set_ylabel(label)
        axes.legend(frameon=False)

    return plot


_PLOTS: dict[str, dict[str, Callable[[Any, Sequence[Row]], None]]] = {
    "1": {"cpu": _cpu, "latency": _latency},
    "5": {"memory": _lines("bytes_per_client", 1024, "KB per idle client")},
    "10a": {"growth": _lines("cpu_us", 1, "CPU per delivery in µs")},
}
