"""Copies of the repository, in which mutants are put and tests are run."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Self

from tests.mutants import Mutant

ROOT = Path(__file__).parents[2]
"""The repository."""

_PATIENCE = "0.2"  # most of these tests are to fail, and the slowest takes 9 s if it passes
# The time of a run: this, and what each of its tests or files may add.
_RUN_S, _TEST_S = 300, 5
_FAILED = re.compile(r"^FAILED (\S+::.+?)(?: - .*)?$", re.MULTILINE)
_TESTS_FAILED = 1  # pytest's exit status; others are for errors, such as a test that is not there


class Run(NamedTuple):
    """The result of pytest.

    Attributes:
        status: its exit status, or None if it did not end.
        failed: the tests that failed.
        output: what it wrote.
        seconds: how long it took.
    """

    status: int | None
    failed: Sequence[str]
    output: str
    seconds: float

    @property
    def killed(self) -> bool:
        """True if a test has failed. An error of the run as a whole does not count."""
        return self.status == _TESTS_FAILED and bool(self.failed)


class Copy:
    """A copy of the files that git tracks, in which tests can be run, one run at a time."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._seconds = itertools.count(1)
        tracked = subprocess.check_output(["git", "-C", str(ROOT), "ls-files", "-z"], text=True)
        for name in filter(None, tracked.split("\0")):
            if (ROOT / name).is_file():  # not one that is about to be removed
                target = directory / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, target)
        self._warm = subprocess.Popen(
            [sys.executable, "-P", "tests/mutants/warm.py"],
            cwd=directory,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._warm:  # closes its input, and waits for its end
            pass

    @property
    def _environment(self) -> dict[str, str]:
        # PYTHONPATH comes before the installed package, and `-P` leaves it in force, so that the
        # commands that tests start are of the copy too.
        return os.environ | {
            "PYTHONPATH": str(self.directory),
            "PYTHONDONTWRITEBYTECODE": "",  # the next run has it
            "PATIENCE": os.environ.get("PATIENCE", _PATIENCE),
        }

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
        text, about = path.read_text("utf-8"), path.stat()
        if (count := text.count(mutant.before)) != 1:
            raise ValueError(f"its text is {count} times in {mutant.file}")
        path.write_text(text.replace(mutant.before, mutant.after), "utf-8")
        # Bytecode is told from its source by size and seconds, and some mutants change neither.
        os.utime(path, (about.st_atime, about.st_mtime + next(self._seconds)))
        try:
            yield
        finally:
            path.write_text(text, "utf-8")
            os.utime(path, (about.st_atime, about.st_mtime))

    def test(self, tests: Collection[str], *, to_the_end: bool = False) -> Run:
        """Run tests until the first one fails, or all of them."""
        assert self._warm.stdin
        assert self._warm.stdout
        began_s = time.monotonic()
        # A mutant that leads to thousands of failures is dead at the first.
        args = [*tests] if to_the_end else ["-x", *tests]
        request = {"args": args, "limit_s": _RUN_S + _TEST_S * len(tests)}
        self._warm.stdin.write(json.dumps(request) + "\n")
        self._warm.stdin.flush()
        answer = json.loads(self._warm.stdout.readline())
        status, output = answer["status"], answer["output"]
        return Run(status, _FAILED.findall(output), output, time.monotonic() - began_s)


def judge(copy: Copy, mutant: Mutant) -> Run:
    """Run a mutant's tests on the copy with the mutant in it."""
    try:
        with copy.mutated(mutant):
            return copy.test(mutant.tests)
    except (ValueError, OSError) as error:
        return Run(None, [], str(error), 0.0)
