"""Break the product in one place at a time, and show which test notices.

python -m tests.mutants [--only NAME] [--jobs N]

It works on copies of the files that git tracks, as they are now, and plays as many mutants at a
time. `mutants/named.jsonl` says which were noticed so far. The next run plays the others, and those
of which the file or the tests have changed. If anything else has changed, remove that file first.

The status is 1 if a mutant survives, if its text is not there exactly once, or if its tests fail
without it.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from queue import SimpleQueue

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests import tiers
from tests.mutants import (
    Mutant,
    answers,
    backend,
    chaos,
    checkpoints,
    core,
    history,
    limits,
    outside,
    pages,
    publishing,
    requests,
    resume,
    showcase,
    states,
    tokens,
    web,
)
from tests.mutants.copies import ROOT, Copy, Run, judge
from tests.mutants.noticed import Noticed

MUTANTS: tuple[Mutant, ...] = (
    *core.MUTANTS,
    *resume.MUTANTS,
    *requests.MUTANTS,
    *answers.MUTANTS,
    *history.MUTANTS,
    *checkpoints.MUTANTS,
    *states.MUTANTS,
    *backend.MUTANTS,
    *web.MUTANTS,
    *limits.MUTANTS,
    *tokens.MUTANTS,
    *publishing.MUTANTS,
    *outside.MUTANTS,
    *pages.MUTANTS,
    *showcase.MUTANTS,
    *chaos.MUTANTS,
)

_NOTICED = ROOT / "mutants" / "named.jsonl"
_BATCH = 50  # their tests are run without a mutant first


def row(mutant: Mutant, run: Run) -> tuple[str, str, str]:
    """The mutant's row of the table."""
    if run.killed:
        verdict = escape(run.failed[0])
    elif run.status == 0:
        verdict = "[red]it survives[/red]"
    else:
        verdict = f"[red]can't be told: {escape(run.output.strip()[-200:])}[/red]"
    return escape(mutant.name), verdict, f"{run.seconds:.1f}"


def _chosen(only: str, noticed: Noticed) -> Sequence[Mutant]:
    if not only:
        return [mutant for mutant in MUTANTS if mutant not in noticed]
    chosen = [mutant for mutant in MUTANTS if mutant.name.startswith(only)]
    if not chosen:
        known = ", ".join(mutant.name for mutant in MUTANTS)
        raise click.BadParameter(f"there is no {only!r}; there are: {known}")
    return chosen


def _pass(console: Console, copies: Sequence[Copy], mutants: Sequence[Mutant]) -> bool:
    """Return True if the tests of mutants pass without a mutant."""
    tests = list(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
    parts = [part for n in range(len(copies)) if (part := tests[n :: len(copies)])]
    with ThreadPoolExecutor(len(copies)) as pool:
        runs = list(pool.map(partial(Copy.test, to_the_end=True), copies, parts))
    seconds = max(run.seconds for run in runs)
    console.print(f"without a mutant, {len(tests)} tests or files: {seconds:.1f} s")
    # A test that failed beside others, on a busy machine, may pass by itself.
    again = [copies[0].test(run.failed) if run.killed else run for run in runs]
    if failed := [run.output for run in again if run.status != 0]:
        console.print("these fail, or are not there, without any mutant:", *failed, markup=False)
    return not failed


def _is_alone(mutant: Mutant) -> bool:
    """Return True if a test of the mutant must not run beside others."""
    files = (ROOT / test.partition("::")[0] for test in mutant.tests)
    return any(tiers.kind_of(file, "", ()) == "alone" for file in files)


def _played(copies: Sequence[Copy], mutants: Sequence[Mutant]) -> Iterator[tuple[Mutant, Run]]:
    """Judge mutants, one in each copy at a time, and yield the results as they come."""
    free = SimpleQueue[Copy]()
    for copy in copies:
        free.put(copy)

    def play(mutant: Mutant) -> tuple[Mutant, Run]:
        copy = free.get()
        try:
            return mutant, judge(copy, mutant)
        finally:
            free.put(copy)

    pool = ThreadPoolExecutor(len(copies))
    try:
        plays = [pool.submit(play, mutant) for mutant in mutants if not _is_alone(mutant)]
        for played in as_completed(plays):
            yield played.result()
        yield from (play(mutant) for mutant in mutants if _is_alone(mutant))
    finally:
        pool.shutdown(cancel_futures=True)


def _hunt(
    console: Console, copies: Sequence[Copy], mutants: Sequence[Mutant], noticed: Noticed
) -> bool:
    """Judge mutants and print the table. Return True if all were killed."""
    table = Table("mutant", "killed by", "s", title="Mistakes, and the tests that notice")
    survivors, began_s = list[str](), time.monotonic()
    for first in range(0, len(mutants), _BATCH):
        batch = mutants[first : first + _BATCH]
        if not _pass(console, copies, batch):
            survivors += [mutant.name for mutant in batch]
            continue
        for mutant, run in _played(copies, batch):
            if run.killed:
                noticed.add(mutant, run)
            else:
                survivors.append(mutant.name)
            table.add_row(*row(mutant, run))
            if len(mutants) == 1 or not run.killed:
                console.print(f"{mutant.name}:\n{run.output}", markup=False)
            elif sys.stdout.isatty():
                console.print(f"  {mutant.name}: {run.seconds:.1f} s", markup=False)
    console.print(table)
    killed, seconds = len(mutants) - len(survivors), time.monotonic() - began_s
    console.print(f"{killed} of {len(mutants)} were noticed, in {seconds:.0f} s")
    for name in survivors:
        console.print(f"  not noticed: {name}", markup=False)
    return not survivors


@click.command()
@click.option("--only", default="", metavar="NAME", help="Those whose names begin so, in any case.")
@click.option("--jobs", default=os.cpu_count() or 1, metavar="N", help="How many at a time.")
def main(only: str, jobs: int) -> None:
    """Break the product in one place at a time; status 1 if no test notices."""
    noticed = Noticed(_NOTICED, MUTANTS)
    mutants = _chosen(only, noticed)
    console = Console(width=None if sys.stdout.isatty() else 200)
    if len(mutants) < len(MUTANTS) and not only:
        before = len(MUTANTS) - len(mutants)
        console.print(f"{before} were noticed before: remove {_NOTICED} to play them again")
    if not mutants:
        return
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="mutants-"))
        paths = [Path(directory).resolve() / str(n) for n in range(min(jobs, len(mutants)))]
        copies = [stack.enter_context(Copy(path)) for path in paths]
        for copy in copies:
            if not (found := copy.imported()).is_relative_to(copy.directory):
                raise click.ClickException(f"tests would not see the copy, but {found}")
        if not _hunt(console, copies, mutants, noticed):
            sys.exit(1)


if __name__ == "__main__":
    main()
