"""The command: `python -m bench`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bench import arrivals, costs, fanout
from bench.report import machine, page, rows_table, write_into
from bench.servers import SERVERS, missing
from bench.workload import Found, Scale, Step, ratio

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parent.parent / "docs" / "results" / "benchmarks.md"
GATE = 1.6
"""CPU per delivery in floors, above which the quick run fails."""

Workload = Callable[[Sequence[str], Scale, Step], Found]
WORKLOADS: dict[str, Workload] = {
    "1": fanout.one_channel,
    "2": fanout.fast,
    "3": fanout.flood,
    "4": fanout.many_clients,
    "5": arrivals.idle,
    "6": fanout.own_keys,
    "7": arrivals.herd,
    "8": arrivals.connections,
    "9": costs.publishing,
    "10a": fanout.growth,
    "10b": costs.unwanted,
    "11": fanout.many_channels,
    "12": arrivals.start_up,
}

Row = dict[str, Any]


def run(names: Sequence[str], kinds: Sequence[str], scale: Scale, console: Console) -> Row:
    """Run workloads one after the other, and return all that was found."""
    about, start_s, found = machine(), time.monotonic(), []
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=len(names))
        for name in names:
            begun_s = time.monotonic()
            result = WORKLOADS[name](
                kinds, scale, lambda doing: progress.update(task, description=doing)
            )
            progress.advance(task)
            title = (WORKLOADS[name].__doc__ or "").rstrip(".")
            console.print(f"\n{name}. {title} ({time.monotonic() - begun_s:.0f} s)", style="bold")
            console.print(rows_table(result.rows), soft_wrap=True, highlight=False)
            targets = [target.result() for target in result.targets]
            _print_targets(targets, console)
            found.append({"number": name, "title": title, "rows": result.rows, "targets": targets})
    return {
        "date": date.today().isoformat(),
        "minutes": (time.monotonic() - start_s) / 60,
        "machine": about,
        "scale": scale._asdict(),
        "workloads": found,
    }


def _print_targets(targets: Sequence[Row], console: Console) -> None:
    for target in targets:
        sign = "at least" if target["least"] else "at most"
        measured = target["measured"]
        told = "not measured" if measured is None else f"{measured:,.4g}"
        state = "met" if target["met"] else f"MISSED by {target['missed_by'] * 100:.0f} %"
        console.print(
            f"  {target['what']}: {told}, {sign} {target['bound']:,.4g}: "
            f"{'-' if measured is None else state}",
            highlight=False,
        )


def quick(console: Console) -> bool:
    """Half a minute for every commit: what a delivery costs beside the floor.

    The best of the rounds counts: other work on the machine only ever adds.
    """
    scale = Scale(rounds=6, seconds=2.0, clients=0.6)
    (workload,) = run(["1"], ["transport", "floor"], scale, console)["workloads"]
    best = ratio(workload["rows"], "cpu_us_least", "transport", "floor")
    assert best is not None
    lost = workload["targets"][-1]["measured"]
    console.print(
        f"\nCPU per delivery in the best round: {best:.2f} floors, at most {GATE}; "
        f"clients that missed an event: {lost}"
    )
    return best <= GATE and not lost


def _chosen(known: Iterable[str]) -> Callable[[Any, Any, str | None], list[str]]:
    """Read an option that names some of what there is, with commas between."""
    names = list(known)

    def read(_context: Any, _option: Any, given: str | None) -> list[str]:
        chosen = given.split(",") if given else list(names)
        if unknown := [name for name in chosen if name not in names]:
            raise click.BadParameter(f"{', '.join(unknown)}: choose from {', '.join(names)}")
        return chosen

    return read


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--only",
    "names",
    callback=_chosen(WORKLOADS),
    help="Numbers of workloads, with commas between; all if not given.",
)
@click.option(
    "--servers",
    "kinds",
    callback=_chosen(SERVERS),
    help=f"Some of {', '.join(SERVERS)}, with commas between; all if not given.",
)
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=2.0, show_default=True, help="Of a round.")
@click.option("--scale", default=1.0, show_default=True, help="Numbers of clients, times this.")
@click.option("--write", is_flag=True, help="Write bench/results and docs/results.")
@click.option("--quick", "is_quick", is_flag=True, help="Half a minute; fails above the limit.")
def main(
    names: list[str],
    kinds: list[str],
    rounds: int,
    seconds: float,
    scale: float,
    write: bool,
    is_quick: bool,
) -> None:
    """Measure the hub beside its peers and the floor."""
    console = Console() if sys.stdout.isatty() else Console(width=200)
    if is_quick:
        sys.exit(0 if quick(console) else 1)
    for kind, need in missing().items():
        if kind in kinds:
            console.print(f"{kind} is left out: it needs {need}")
            kinds.remove(kind)
    results = run(names, kinds, Scale(rounds, seconds, scale), console)
    if write and len(names) == len(WORKLOADS):  # the page is of one run
        _write(results)


def _write(results: Row) -> None:
    from bench.plots import draw  # takes a second to import, which no other run should wait for

    draw(results["workloads"], PAGE.parent)
    write_into(PAGE, page(results))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "suite.json").write_text(json.dumps(_short(results), indent=1) + "\n")


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
