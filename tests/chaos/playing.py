"""Plays scenarios: each in servers of its own, all of them in two processes."""

from __future__ import annotations

import asyncio
import multiprocessing
import shutil
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from broadcaster.commands.host import raise_file_limit
from tests.chaos import namespace
from tests.chaos.checker import Fault, Report
from tests.chaos.history import write_lines
from tests.chaos.processes import die_with_parent
from tests.chaos.scenarios import Scenario
from tests.chaos.stage import Shown, Skipped, Stage


@dataclass
class Result:
    """How a scenario went."""

    scenario: Scenario
    seed: int
    report: Report
    shown: list[Shown]
    seconds: float
    quick: bool
    skipped: str = ""
    error: str = ""
    missed_first: list[str] = field(default_factory=list)

    @property
    def right(self) -> bool:
        """True if it has no errors. Only a short run may skip observations."""
        return self._is_sound and not self.missed and (self.quick or not self.skipped)

    @property
    def missed(self) -> list[Shown]:
        """The expected observations that are missing."""
        return [shown for shown in self.shown if not shown.right]

    @property
    def may_be_busy(self) -> bool:
        """True if all that is wrong is what a busy machine may miss: no delivery, for one, is."""
        missed = self.missed
        return self._is_sound and bool(missed) and all(shown.busy for shown in missed)

    @property
    def _is_sound(self) -> bool:
        return self.report.clean and not self.error

    def line(self) -> dict[str, Any]:
        """As a line of `results.ndjson`."""
        return {
            "seed": self.seed,
            "scenario": self.scenario.number,
            "title": self.scenario.title,
            "seconds": round(self.seconds),
            "deliveries": self.report.deliveries,
            "connections": self.report.connections,
            "faults": {fault.value: self.report.counts[fault] for fault in Fault},
            "shown": [asdict(shown) for shown in self.shown],
            "skipped": self.skipped,
            "error": self.error,
            "missed_first": self.missed_first,
        }


async def play(scenario: Scenario, directory: Path, seed: int, *, quick: bool) -> Result:
    """Play a scenario. The logs of a failure stay in the directory."""
    stage = Stage(directory, seed, quick=quick)
    result = Result(scenario, seed, stage.report, stage.shown, 0.0, quick)
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
    if result.may_be_busy:
        missed = [f"{shown.what}: {shown.measured}" for shown in result.missed]
        result = _play(scenario, directory / "again", seed, quick=quick)
        result.missed_first = missed
    return result


def _play(scenario: Scenario, directory: Path, seed: int, *, quick: bool) -> Result:
    if not scenario.own_network:
        return asyncio.run(play(scenario, directory, seed, quick=quick))
    if reason := namespace.missing():
        return Result(scenario, seed, Report(), [], 0.0, quick, skipped=reason)
    with namespace.own_network():
        return asyncio.run(play(scenario, directory, seed, quick=quick))


def _prepare() -> None:
    die_with_parent()
    raise_file_limit()


def play_all(
    scenarios: list[Scenario], directory: Path, seeds: Sequence[int], *, quick: bool
) -> Iterator[Result]:
    """Play scenarios with one seed after the other, each when the one before is over.

    Beside that goes what does not depend on time, as far as two cores carry it; and what takes
    long, with all seeds together.

    Returns:
        The results as they come.
    """

    def beside(scenario: Scenario) -> bool:
        return scenario.beside or (quick and not scenario.timed)

    with ExitStack() as stack:
        spawn = multiprocessing.get_context("spawn")
        lanes = {
            is_beside: stack.enter_context(
                ProcessPoolExecutor(workers, mp_context=spawn, initializer=_prepare)
            )
            for is_beside, workers in ((False, 1), (True, 1 if quick else len(seeds)))
        }
        played: list[Future[Result]] = [
            lanes[beside(scenario)].submit(
                play_apart, scenario, place(directory, seed, scenario), seed, quick=quick
            )
            for seed in seeds
            for scenario in scenarios
        ]
        yield from (future.result() for future in as_completed(played))


def place(directory: Path, seed: int, scenario: Scenario) -> Path:
    """Return the directory for the logs of a failure."""
    return directory / f"seed{seed}" / f"scenario{scenario.number}"
