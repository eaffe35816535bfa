"""The last lines of a run say what failed, whatever the number of failures."""

from __future__ import annotations

from tests.chaos.checker import Fault, Finding, Report
from tests.chaos.playing import Result
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.stage import Shown
from tests.chaos.verdict import MOST_LINES, verdict


def result(number: int, *shown: Shown, error: str = "", lost: int = 0) -> Result:
    scenario = next(s for s in SCENARIOS if s.number == number)
    report = Report()
    for place in range(lost):
        report.findings.append(Finding(Fault.LOST, "one 3", "a", (7, 1), "", place))
        report.counts[Fault.LOST] += 1
    return Result(scenario, 7, report, list(shown), 1.0, quick=True, error=error)


def test_one_line_if_nothing_failed() -> None:
    assert verdict([result(1), result(2)]) == ["all of 2 scenarios passed"]


def test_what_failed_with_its_reasons() -> None:
    missed = Shown("no reset", "2 over 9 connections", False)
    lines = verdict([result(1), result(3, missed, error="Trace\nKeyError: 'x'", lost=2)])
    assert lines == [
        "FAILED: 1 of 2 scenarios",
        "seed 7, scenario 3: kill -9 of a node behind HAProxy",
        "  error: KeyError: 'x'",
        "  NOT: no reset: 2 over 9 connections",
        "  2 lost",
        "  lost: client 'one 3', line 0 of its log, a 7-1 ",
        "  lost: client 'one 3', line 1 of its log, a 7-1 ",
    ]


def test_all_failures_are_named_in_the_last_lines() -> None:
    lines = verdict([result(s.number, lost=100) for s in SCENARIOS])
    assert len(lines) <= MOST_LINES
    for scenario in SCENARIOS:
        assert f"seed 7, scenario {scenario.number}: {scenario.title}" in lines


def test_several_seeds_that_failed_whole() -> None:
    results = [result(s.number, lost=1) for s in SCENARIOS] * 3
    lines = verdict(results)
    assert len(lines) == MOST_LINES
    assert lines[0] == f"FAILED: {len(results)} of {len(results)} scenarios"
    assert lines[-1] == f"and {len(results) - MOST_LINES + 2} more"
