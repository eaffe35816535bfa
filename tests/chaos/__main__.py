"""Plays the scenarios and prints what was found.

python -m tests.chaos [--quick] [--seed N]… [--only 2,5] [--without 9] [--keep DIR]
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from tests.chaos import page
from tests.chaos.checker import Fault
from tests.chaos.history import write_lines
from tests.chaos.playing import Result, place, play_all
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.verdict import described, verdict

_FINDINGS_SHOWN = 10


def table_of(results: list[Result]) -> Table:
    """A row for each scenario."""
    table = Table("", "scenario", "deliveries", *(fault.value for fault in Fault), "s")
    table.add_column("what had to be shown, and what was measured", ratio=1)
    for result in results:
        measured = [
            f"{'' if shown.right else '[red]NOT: [/red]'}{shown.what}: {shown.measured}"
            for shown in result.shown
        ]
        measured += [f"[yellow]the first time: {missed}[/yellow]" for missed in result.missed_first]
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
    """Print the findings and errors of a scenario."""
    console.print(f"[red]scenario {result.scenario.number} failed[/red]; logs: {directory}")
    for finding in result.report.findings[:_FINDINGS_SHOWN]:
        console.print(f"  {described(finding)}", markup=False)
    if result.error:
        console.print(result.error, markup=False)


def _numbers(text: str) -> set[int]:
    """Read numbers of scenarios.

    Raises:
        click.BadParameter: one is none.
    """
    known = {f"{scenario.number}": scenario.number for scenario in SCENARIOS}
    given = [number.strip() for number in text.split(",") if number.strip()]
    if strangers := [number for number in given if number not in known]:
        raise click.BadParameter(f"{', '.join(strangers)}: scenarios are 1 to {len(known)}")
    return {known[number] for number in given}


@click.command()
@click.option("--quick", is_flag=True, help="Smaller sizes: what every commit must pass.")
@click.option(
    "--seed", "seeds", type=int, multiple=True, help="The same chances again; may be repeated."
)
@click.option("--write", is_flag=True, help="Write the table into docs/results/reliability.md.")
@click.option("--only", default="", metavar="N,N", help="Only these scenarios.")
@click.option("--without", default="", metavar="N,N", help="All but these scenarios.")
@click.option(
    "--keep", type=click.Path(path_type=Path), help="Where results and logs of failures go."
)
def main(
    quick: bool, seeds: tuple[int, ...], only: str, without: str, keep: Path | None, write: bool
) -> None:
    """Play the scenarios. The status is 1 if there are findings."""
    seeds = seeds or (random.randrange(1 << 30),)
    wanted, unwanted = _numbers(only) or {s.number for s in SCENARIOS}, _numbers(without)
    chosen = [s for s in SCENARIOS if s.number in wanted - unwanted]
    keep = keep or Path(tempfile.mkdtemp(prefix="chaos-"))
    keep.mkdir(parents=True, exist_ok=True)
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(f"seed {', '.join(map(str, seeds))}{', quick' if quick else ''}")
    started_s = time.monotonic()
    results = []
    for result in play_all(chosen, keep, seeds, quick=quick):
        results.append(result)
        console.print(f"seed {result.seed}, after {time.monotonic() - started_s:.0f} s")
        console.print(table_of([result]))
        if not result.right:
            tell_failure(console, result, place(keep, result.seed, result.scenario))
    results.sort(key=lambda result: (seeds.index(result.seed), result.scenario.number))
    write_lines(keep / "results.ndjson", (result.line() for result in results))
    if write:
        page.write(results, seeds, (time.monotonic() - started_s) / 60, quick=quick)
    for seed in seeds:
        of_seed = [result for result in results if result.seed == seed]
        wrong = [f"{result.scenario.number}" for result in of_seed if not result.right]
        console.print(f"seed {seed}: {'failed: ' + ', '.join(wrong) if wrong else 'passed'}")
        console.print(table_of(of_seed))
    click.echo("\n".join(verdict(results)))
    sys.exit(0 if all(result.right for result in results) else 1)


if __name__ == "__main__":
    main()
