"""The page of a run says what each scenario showed, and what went wrong."""

from __future__ import annotations

from pathlib import Path

from bench.report import BEGIN, END
from tests.chaos import page
from tests.chaos.checker import Report
from tests.chaos.playing import Result
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.stage import Shown


def result(number: int, seed: int, *shown: Shown, error: str = "") -> Result:
    scenario = next(s for s in SCENARIOS if s.number == number)
    return Result(scenario, seed, Report(), list(shown), 1.0, quick=False, error=error)


def test_a_section_for_each_scenario_with_the_figures_of_each_seed(tmp_path: Path) -> None:
    written = tmp_path / "page.md"
    written.write_text(f"before\n\n{BEGIN}\nold\n{END}\n")
    results = [
        result(3, 7, Shown("no reset", "0", True), Shown("longest", "1 s", True)),
        result(8, 7, Shown("one reset each", "2", False), error="Traceback\nKeyError: 'x'"),
        result(3, 8, Shown("no reset", "0", True), Shown("longest", "2 s", True)),
        result(8, 8, Shown("one reset each", "1", True)),
    ]
    page.write(results, [7, 8], 3.2, quick=False, page=written)
    text = written.read_text()
    assert text.startswith("before\n")
    assert "3 minutes, seed 7, 8:" in text
    assert "* no reset: 0\n* longest: 1 s · 2 s\n" in text
    assert "* one reset each: **NOT:** 2 · 1\n* **failed**: KeyError: 'x'\n" in text
    assert text.index("## 3. ") < text.index("## 8. ")
