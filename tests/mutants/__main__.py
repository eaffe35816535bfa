"""Break the product in one place at a time, and show which test notices.

python -m tests.mutants [--only NAME]

It works on a copy of the files that git tracks, as they are now. The status is 1 if a mutant
survives, if its text is not there exactly once, or if its tests fail without it.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

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

_ROOT = Path(__file__).parents[2]
_PATIENCE = "0.2"  # most of these tests are to fail, and the slowest takes 9 s if it passes
# The time of a run: this, and what each of its tests or files may add.
_RUN_S, _TEST_S = 300, 5
# Always the same examples; and a mutant that leads to thousands of failures is dead at the first.
_PYTEST = (
    "-m", "pytest", "-x", "-q", "--tb=short", "-p", "no:cacheprovider",
    "--hypothesis-profile=ci",
)  # fmt: skip
_FAILED = re.compile(r"^FAILED (\S+::.+?)(?: - .*)?$", re.MULTILINE)
_TESTS_FAILED = 1  # pytest's exit status; others are for errors, such as a test that is not there


class Run(NamedTuple):
    """The result of pytest.

    Attributes:
        status: its exit status, or None if it did not end.
        failed: the first test that failed.
        output: what it wrote.
        seconds: how long it took.
    """

    status: int | None
    failed: str
    output: str
    seconds: float

    @property
    def killed(self) -> bool:
        """True if a test has failed. An error of the run as a whole does not count."""
        return self.status == _TESTS_FAILED and bool(self.failed)


class Copy:
    """A copy of the files that git tracks, in which tests can be run."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        tracked = subprocess.check_output(["git", "-C", str(_ROOT), "ls-files", "-z"], text=True)
        for name in filter(None, tracked.split("\0")):
            if (_ROOT / name).is_file():  # not one that is about to be removed
                target = directory / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes((_ROOT / name).read_bytes())
                target.chmod((_ROOT / name).stat().st_mode)

    @property
    def _environment(self) -> dict[str, str]:
        # PYTHONPATH comes before the installed package, and `-P` leaves it in force, so that the
        # commands that tests start are of the copy too. No bytecode: it is told from its source
        # by size and seconds, and some mutants change neither.
        ours = {"PYTHONPATH": str(self.directory), "PYTHONDONTWRITEBYTECODE": "1"}
        return os.environ | ours | {"PATIENCE": os.environ.get("PATIENCE", _PATIENCE)}

    def imported(self) -> Path:
        """Return the path of the product, as a process that a test starts imports it."""
        command = [sys.executable, "-P", "-c", "import broadcaster; print(broadcaster.__file__)"]
        output = subprocess.check_output(command, cwd="/", env=self._environment, text=True)
        return Path(output.strip())

    @contextmanager
    def mutated(self, mutant: Mutant) -> Iterator[None]:
        """The copy with a mutant in it.

        Raises:
            ValueError: the text before is not there exactly once.
        """
        path = self.directory / mutant.file
        text = path.read_text("utf-8")
        if (count := text.count(mutant.before)) != 1:
            raise ValueError(f"its text is {count} times in {mutant.file}")
        path.write_text(text.replace(mutant.before, mutant.after), "utf-8")
        try:
            yield
        finally:
            path.write_text(text, "utf-8")

    def test(self, tests: Collection[str]) -> Run:
        """Run tests until the first one fails."""
        began_s = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, *_PYTEST, *tests],
            cwd=self.directory,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=_RUN_S + _TEST_S * len(tests))
            status: int | None = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, status = process.communicate()[0], None
        failed = _FAILED.search(output)
        return Run(status, failed[1] if failed else "", output, time.monotonic() - began_s)


def judge(copy: Copy, mutant: Mutant) -> Run:
    """Run a mutant's tests on the copy with the mutant in it."""
    try:
        with copy.mutated(mutant):
            return copy.test(mutant.tests)
    except (ValueError, OSError) as error:
        return Run(None, "", str(error), 0.0)


def row(mutant: Mutant, run: Run) -> tuple[str, str, str]:
    """The mutant's row of the table."""
    if run.killed:
        verdict = escape(run.failed)
    elif run.status == 0:
        verdict = "[red]it survives[/red]"
    else:
        verdict = f"[red]can't be told: {escape(run.output.strip()[-200:])}[/red]"
    return escape(mutant.name), verdict, f"{run.seconds:.1f}"


def _chosen(only: str) -> Sequence[Mutant]:
    chosen = [mutant for mutant in MUTANTS if not only or mutant.name == only]
    if not chosen:
        known = ", ".join(mutant.name for mutant in MUTANTS)
        raise click.BadParameter(f"there is no {only!r}; there are: {known}")
    return chosen


def _hunt(console: Console, copy: Copy, mutants: Sequence[Mutant]) -> bool:
    """Judge mutants and print the table. Return True if all were killed."""
    table = Table("mutant", "killed by", "s", title="Mistakes, and the tests that notice")
    survivors, began_s = list[str](), time.monotonic()
    for mutant in mutants:
        run = judge(copy, mutant)
        survivors += [] if run.killed else [mutant.name]
        table.add_row(*row(mutant, run))
        if len(mutants) == 1 or not run.killed:
            console.print(f"{mutant.name}:\n{run.output}", markup=False)
        elif sys.stdout.isatty():
            console.print(f"  {mutant.name}: {run.seconds:.1f} s", markup=False)
    console.print(table)
    noticed, seconds = len(mutants) - len(survivors), time.monotonic() - began_s
    console.print(f"{noticed} of {len(mutants)} were noticed, in {seconds:.0f} s")
    for name in survivors:
        console.print(f"  not noticed: {name}", markup=False)
    return not survivors


@click.command()
@click.option("--only", default="", metavar="NAME", help="One mutant, with what pytest says.")
def main(only: str) -> None:
    """Break the product in one place at a time; status 1 if no test notices."""
    mutants = _chosen(only)
    console = Console(width=None if sys.stdout.isatty() else 200)
    with tempfile.TemporaryDirectory(prefix="mutants-") as directory:
        copy = Copy(Path(directory).resolve())
        found = copy.imported()
        if not found.is_relative_to(copy.directory):
            raise click.ClickException(f"tests would not see the copy, but {found}")
        tests = dict.fromkeys(test for mutant in mutants for test in mutant.tests)
        run = copy.test(tests)
        console.print(f"without a mutant, {len(tests)} tests or files: {run.seconds:.1f} s")
        if run.status != 0:
            console.print(run.output, markup=False)
            raise click.ClickException("these fail, or are not there, without any mutant")
        if not _hunt(console, copy, mutants):
            sys.exit(1)


if __name__ == "__main__":
    main()
