"""Plays the scenarios and prints what was found.

python -m tests.chaos [--quick] [--seed N] [--only 2,5] [--keep DIR]
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import ExitStack
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
    again: bool = False

    @property
    def right(self) -> bool:
        """Whether nothing is wrong with it."""
        return self.sound and all(shown.right for shown in self.shown)

    @property
    def sound(self) -> bool:
        """Whether every delivery was right, whatever else was missed."""
        return self.report.clean and not self.error


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


def play_apart(scenario: Scenario, directory: Path, seed: int, *, quick: bool) -> Result:
    """Play a scenario, in a network of its own if it needs one.

    If all that it missed is something that a busy machine may miss, it is played once more: a wrong
    delivery never gets a second chance.
    """
    result = _play(scenario, directory, seed, quick=quick)
    if scenario.timed and result.sound and not result.right:
        result = _play(scenario, directory / "again", seed, quick=quick)
        result.again = True
    return result


def _play(scenario: Scenario, directory: Path, seed: int, *, quick: bool) -> Result:
    if not scenario.own_network:
        return asyncio.run(play(scenario, directory, seed, quick=quick))
    if reason := namespace.missing():
        return Result(scenario, Report(), [], 0.0, skipped=reason)
    with namespace.own_network():
        return asyncio.run(play(scenario, directory, seed, quick=quick))


def play_all(
    scenarios: list[Scenario], directory: Path, seed: int, *, quick: bool
) -> Iterator[Result]:
    """Play scenarios in two processes, each one after the other; results as they come.

    One process has what does not depend on time, as far as two cores carry that beside the rest.
    """

    def beside(scenario: Scenario) -> bool:
        return scenario.beside or (quick and not scenario.timed)

    with ExitStack() as stack:
        spawn = multiprocessing.get_context("spawn")
        pools = {
            lane: stack.enter_context(
                ProcessPoolExecutor(1, mp_context=spawn, initializer=raise_file_limit)
            )
            for lane in (False, True)
        }
        played: list[Future[Result]] = [
            pools[beside(scenario)].submit(
                play_apart, scenario, directory / f"scenario{scenario.number}", seed, quick=quick
            )
            for scenario in scenarios
        ]
        yield from (future.result() for future in as_completed(played))


def table_of(results: list[Result]) -> Table:
    """A row for each scenario."""
    table = Table("", "scenario", "deliveries", *(fault.value for fault in Fault), "s")
    table.add_column("what had to be shown, and what was measured", ratio=1)
    for result in results:
        measured = [
            f"{'' if shown.right else '[red]NOT: [/red]'}{shown.what}: {shown.measured}"
            for shown in result.shown
        ]
        if result.again:
            measured.append("[yellow]at the second attempt: the first missed a time[/yellow]")
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
    seed = random.randrange(1 << 30) if seed is None else seed
    numbers = {int(number) for number in only.split(",") if number}
    chosen = [s for s in SCENARIOS if not numbers or s.number in numbers]
    keep = keep or Path(tempfile.mkdtemp(prefix="chaos-"))
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(f"seed {seed}{', quick' if quick else ''}")
    started_s = time.monotonic()
    results = []
    for result in play_all(chosen, keep, seed, quick=quick):
        results.append(result)
        console.print(table_of([result]))
        if not result.right:
            tell_failure(console, result, keep / f"scenario{result.scenario.number}")
    results.sort(key=lambda result: result.scenario.number)
    if len(results) > 1:
        console.print(table_of(results))
        console.print(f"seed {seed}: {time.monotonic() - started_s:.0f} s")
    sys.exit(0 if all(result.right for result in results) else 1)


if __name__ == "__main__":
    main()
