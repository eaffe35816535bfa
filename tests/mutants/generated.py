"""Mutants of core that mutmut makes, and which of them a test notices.

python -m tests.mutants.generated [PATTERN ...] [--again] [--longest S]

mutmut makes the mutants in `mutants/`, all in one copy of the code. Its own way of running them
collects the tests anew for each mutant, which takes longer than the tests. Here they are collected
once, and each mutant gets a fork of the process in which that has happened. It runs the tests that
call the mutated function, those of its module first, until one fails. Mutants that mypy refuses are
left out: `make check` finds them. `--again` lets tests judge these as well, and all survivors once
more.

The results lie where mutmut keeps its own, so `mutmut show NAME` and `mutmut browse` work. A run
that is stopped goes on where it was. A mutant is judged again if its function has changed.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import NamedTuple, NoReturn

import click
import pytest
from mutmut.__main__ import create_mutants
from mutmut.configuration import config
from mutmut.mutation.data import SourceFileMutationData
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import (
    change_cwd,
    copy_also_copy_files,
    copy_src_dir,
    setup_source_paths,
    walk_mutatable_files,
)
from mutmut.utils.format_utils import mangled_name_from_mutant_name

from tests.mutants.refused import refused
from tests.mutants.switches import Switches

# Exit codes of a fork, as mutmut has them.
SURVIVED, KILLED, BROKEN, UNTESTED, ENDLESS, REFUSED = 0, 1, 3, 33, 36, 37
_UNNOTICED = (SURVIVED, UNTESTED)
_FORKS = 2
_MEMORY_BYTES = 4 << 30
# A mutant is endless if a test takes this long, in seconds of the processor: it may be busy.
_TEST_S, _TIMES = 5.0, 10


class Known(NamedTuple):
    """What running all tests once tells.

    Attributes:
        tests: the tests that call a function, by its name.
        seconds: how long each test takes.
    """

    tests: Mapping[str, Sequence[str]]
    seconds: Mapping[str, float]

    def of(self, mutant: str, longest_s: float) -> list[str]:
        """Return the tests that may notice a mutant: those of its module first, and fast ones."""
        function = mangled_name_from_mutant_name(mutant)
        module = function.rpartition(".")[0].rpartition(".")[2]
        fast = [test for test in self.tests.get(function, ()) if self.seconds[test] <= longest_s]
        return sorted(fast, key=lambda t: (f"/test_{module}.py:" not in t, self.seconds[t], t))


class Hunt:
    """A plugin of pytest that judges mutants instead of running each test once."""

    def __init__(
        self, switches: Switches, patterns: Sequence[str], again: bool, longest_s: float
    ) -> None:
        self._switches, self._patterns = switches, patterns
        self._again, self._longest_s = again, longest_s
        self._items: dict[str, pytest.Item] = {}
        self._running: dict[int, tuple[str, SourceFileMutationData]] = {}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Find out which tests call which functions, and judge the mutants that are left."""
        self._items = {item.nodeid: item for item in session.items}
        known = self._known()
        with change_cwd(".."):
            left = dict(self._left()).items()
        for number, (mutant, data) in enumerate(left):
            if number % 100 == 0:
                click.echo(f"{number} of {len(left)} mutants", err=True)
            while len(self._running) >= _FORKS:
                self._take_result()
            if tests := known.of(mutant, self._longest_s):
                self._running[self._fork(mutant, tests, known.seconds)] = mutant, data
            else:
                _keep(data, mutant, UNTESTED)
        while self._running:
            self._take_result()
        return True

    @staticmethod
    def pytest_runtest_logreport(report: pytest.TestReport) -> None:
        """End the fork at the first test that fails."""
        if report.failed:
            click.echo(f"{report.nodeid} fails: {report.longrepr}", err=True)
            os._exit(KILLED)

    def _left(self) -> Iterator[tuple[str, SourceFileMutationData]]:
        every = list(results())
        for pattern in self._patterns:
            for data in every:
                for mutant, code in data.exit_code_by_key.items():
                    wanted = code is None or (self._again and code in (*_UNNOTICED, REFUSED))
                    if wanted and fnmatch(mutant, pattern):
                        yield mutant, data

    def _known(self) -> Known:
        """Run all tests once in a fork.

        Raises:
            click.ClickException: one of them fails.
        """
        path = Path("known.json")
        if (pid := os.fork()) == 0:
            self._run_all(path)
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0:
            raise click.ClickException("a test fails without any mutant")
        return Known(**json.loads(path.read_text("utf-8")))

    def _run_all(self, path: Path) -> NoReturn:
        tests, seconds = defaultdict[str, list[str]](list), dict[str, float]()
        self._switches.record()
        for name, item, following in self._in_order(list(self._items)):
            self._switches.called.clear()
            began_s = time.process_time()
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            seconds[name] = time.process_time() - began_s
            for function in self._switches.called:
                tests[function].append(name)
        path.write_text(json.dumps({"tests": tests, "seconds": seconds}), "utf-8")
        os._exit(0)

    def _in_order(self, names: list[str]) -> Iterator[tuple[str, pytest.Item, pytest.Item | None]]:
        items = [self._items[name] for name in names]
        for name, (item, following) in zip(names, pairwise([*items, None]), strict=True):
            assert item is not None
            yield name, item, following

    def _fork(self, mutant: str, tests: list[str], seconds: Mapping[str, float]) -> int:
        if pid := os.fork():
            return pid
        try:
            _limit(sum(seconds[test] for test in tests))
            self._switches.choose(mutant)
            for name, item, following in self._in_order(tests):
                signal.setitimer(signal.ITIMER_PROF, _TEST_S + _TIMES * seconds[name])
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        except BaseException:  # whatever it is: a test would not have raised it
            os._exit(BROKEN)
        os._exit(SURVIVED)

    def _take_result(self) -> None:
        pid, status = os.wait()
        mutant, data = self._running.pop(pid)
        _keep(data, mutant, os.waitstatus_to_exitcode(status))


def _limit(seconds: float) -> None:
    """Bound what this process may take, and write what it prints to nowhere."""
    signal.signal(signal.SIGPROF, _end)
    whole_s = int(60 + _TIMES * seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (whole_s, whole_s + 1))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    os._exit(ENDLESS)


def _keep(data: SourceFileMutationData, mutant: str, code: int) -> None:
    if code in _UNNOTICED and data.exit_code_by_key[mutant] == REFUSED:
        return
    data.exit_code_by_key[mutant] = code
    with change_cwd(".."):
        data.save()


def results() -> Iterator[SourceFileMutationData]:
    """Yield what is known of the mutants of each file."""
    for path in sorted(walk_mutatable_files()):
        data = SourceFileMutationData(path=path)
        data.load()
        yield data


def _generate() -> None:
    Path("mutants").mkdir(exist_ok=True)
    copy_src_dir()
    copy_also_copy_files()
    setup_source_paths()
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):  # a line for each file
        made = create_mutants(_FORKS)
    if made.mutated:
        _mark(set(refused(sorted(walk_mutatable_files()))))


def _mark(refused_names: set[str]) -> None:
    for data in results():
        for mutant in refused_names.intersection(data.exit_code_by_key):
            if data.exit_code_by_key[mutant] is None:
                data.exit_code_by_key[mutant] = REFUSED
        data.save()


def _forget(*packages: str) -> None:
    """Let these be imported from the copy, and not from where this module is."""
    for name in [name for name in sys.modules if name.partition(".")[0] in packages]:
        del sys.modules[name]


def _print_results(patterns: Sequence[str]) -> None:
    """Print a line per file, and then those mutants that no test notices."""
    total, survivors = Counter[str](), list[str]()
    for data in results():
        found = data.exit_code_by_key.items()
        codes = {name: code for name, code in found if _matches(name, patterns)}
        counts = Counter(status_by_exit_code[code] for code in codes.values())
        total += counts
        survivors += [name for name, code in codes.items() if code in _UNNOTICED]
        if codes:
            click.echo(f"{data.path}: {len(codes)} made, {_line(counts)}")
    click.echo("\n".join(survivors))
    click.echo(f"{total.total()} made, {_line(total)}")


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _line(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))


@click.command()
@click.argument("patterns", nargs=-1)
@click.option("--again", is_flag=True, help="Judge again what no test has noticed.")
@click.option("--longest", default=600.0, metavar="S", help="Leave out tests that take longer.")
def main(patterns: tuple[str, ...], again: bool, longest: float) -> None:
    """Judge the mutants of core that PATTERNS match, in their order, and print which survive."""
    patterns = patterns or ("*",)
    _generate()
    switches = Switches()
    switches.install()
    _forget("tests", "broadcaster")
    with change_cwd("mutants"):
        selection = config().pytest_add_cli_args_test_selection
        arguments = ["--rootdir=.", "-q", "-s", *config().pytest_add_cli_args, *selection]
        code = pytest.main(arguments, plugins=[Hunt(switches, patterns, again, longest)])
    if code != pytest.ExitCode.OK:
        sys.exit(code)
    _print_results(patterns)


if __name__ == "__main__":
    main()
