"""Plays the scenarios and prints what was found.

python -m tests.chaos [--quick] [--seed N] [--only 2,5] [--keep DIR]
"""

from __future__ import annotations

import asyncio
import random
import shutil
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from broadcaster.serving import raise_file_limit
from tests.chaos import namespace
from tests.chaos.checker import Fault, Report
from tests.chaos.history import write_lines
from tests.chaos.scenarios import SCENARIOS, Scenario
from tests.chaos.stage import Shown, Skipped, Stage

_FINDINGS_SHOWN = 10


@dataclass
class Result:
    """How a scenario went."""

    scenario: Scenario
    report: Report
    shown: list[Shown]
    seconds: float
    skipped: str = ""
    error: str = ""

    @property
    def right(self) -> bool:
        """Whether nothing is wrong with it."""
        return self.report.clean and not self.error and all(shown.right for shown in self.shown)


async def play(scenario: Scenario, directory: Path, seed: int, *, quick: bool) -> Result:
    """Play a scenario; the logs of a failure stay in the directory."""
    stage = Stage(directory, seed, quick=quick)
    result = Result(scenario, stage.report, stage.shown, 0.0)
    started_s = time.monotonic()
    try:
        async with stage:
            await scenario.play(stage)
    except Skipped as reason:
        result.skipped = str(reason)
    except Exception:
        result.error = traceback.format_exc()
    result.seconds = time.monotonic() - started_s
    result.report = stage.report
    if result.right:
        shutil.rmtree(directory, ignore_errors=True)
    else:
        wrong = {finding.chain for finding in stage.report.findings}
        write_lines(directory / "producer.ndjson", stage.ledger.lines())
        write_lines(
            directory / "wrong.ndjson", stage.recording.lines(lambda chain: chain.name in wrong)
        )
    return result


def _play(scenario: Scenario, directory: Path, seed: int, *, quick: bool) -> Result:
    if not scenario.own_network:
        return asyncio.run(play(scenario, directory, seed, quick=quick))
    if reason := namespace.missing():
        return Result(scenario, Report(), [], 0.0, skipped=reason)
    with namespace.own_network():
        return asyncio.run(play(scenario, directory, seed, quick=quick))


def table_of(results: list[Result]) -> Table:
    """A row for each scenario."""
    table = Table("", "scenario", "deliveries", *(fault.value for fault in Fault), "s")
    table.add_column("what had to be shown, and what was measured", ratio=1)
    for result in results:
        measured = [
            f"{'' if shown.right else '[red]NOT: [/red]'}{shown.what}: {shown.measured}"
            for shown in result.shown
        ]
        if result.skipped:
            measured.append(f"[yellow]skipped: {result.skipped}[/yellow]")
        if result.error:
            measured.append(f"[red]{result.error.strip().splitlines()[-1]}[/red]")
        counts = (result.report.counts[fault] for fault in Fault)
        table.add_row(
            f"{result.scenario.number}",
            result.scenario.title,
            f"{result.report.deliveries:,}",
            *(f"[red]{count}[/red]" if count else "0" for count in counts),
            f"{result.seconds:.0f}",
            "\n".join(measured),
        )
    return table


def tell_failure(console: Console, result: Result, directory: Path) -> None:
    """What is needed to look into it."""
    console.print(f"[red]scenario {result.scenario.number} failed[/red]; logs: {directory}")
    for finding in result.report.findings[:_FINDINGS_SHOWN]:
        id_ = f"{finding.id[0]}-{finding.id[1]}" if finding.id else ""
        console.print(
            f"  {finding.fault.value}: client {finding.chain!r}, line {finding.place} of its log, "
            f"{finding.stream} {id_} {finding.text}",
            markup=False,
        )
    if result.error:
        console.print(result.error, markup=False)


@click.command()
@click.option("--quick", is_flag=True, help="Smaller sizes: what every commit must pass.")
@click.option("--seed", type=int, help="The same chances again.")
@click.option("--only", default="", metavar="N,N", help="Only these scenarios.")
@click.option("--keep", type=click.Path(path_type=Path), help="Where the logs of failures go.")
def main(quick: bool, seed: int | None, only: str, keep: Path | None) -> None:
    """Play the scenarios; status 1 if anything was found."""
    raise_file_limit()
    seed = random.randrange(1 << 30) if seed is None else seed
    numbers = {int(number) for number in only.split(",") if number}
    keep = keep or Path(tempfile.mkdtemp(prefix="chaos-"))
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(f"seed {seed}{', quick' if quick else ''}")
    results = []
    for scenario in SCENARIOS:
        if not numbers or scenario.number in numbers:
            directory = keep / f"scenario{scenario.number}"
            results.append(_play(scenario, directory, seed, quick=quick))
            console.print(table_of(results[-1:]))
            if not results[-1].right:
                tell_failure(console, results[-1], directory)
    if len(results) > 1:
        console.print(table_of(results))
    sys.exit(0 if all(result.right for result in results) else 1)


if __name__ == "__main__":
    main()
