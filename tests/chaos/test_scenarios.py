"""The quickest scenarios, as tests: the list of mutants asks whether they notice."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.chaos.playing import play
from tests.chaos.scenarios import SCENARIOS

BY_NUMBER = {scenario.number: scenario for scenario in SCENARIOS}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="their processes need Linux")


@pytest.mark.parametrize("number", [8, 15, 16])
async def test_a_scenario_in_short(number: int, tmp_path: Path) -> None:
    result = await play(BY_NUMBER[number], tmp_path / "logs", seed=1, quick=True)
    assert not result.error, result.error
    assert result.report.clean, result.report.findings[:5]
    assert not result.missed
    assert result.report.deliveries > 1000
