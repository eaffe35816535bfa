"""The batches of runs leave evenly over time, also of runs that begin together."""

from __future__ import annotations

from collections import Counter

import pytest

from broadcaster.backend.runs.moments import Moments

NEVER = float("-inf")


def test_runs_that_begin_together_are_spread_over_ten_moments() -> None:
    moments = Moments(0.1)
    found = Counter(round(moments.after(NEVER, 5.004), 6) for _ in range(100))
    assert sorted(found) == [round(5.01 + number / 100, 6) for number in range(10)]
    assert set(found.values()) == {10}


def test_runs_that_begin_at_any_time_share_these_moments() -> None:
    moments = Moments(0.1)
    found = {round(moments.after(NEVER, 5 + n / 777) * 100, 6) for n in range(500)}
    assert all(moment == round(moment) for moment in found)


@pytest.mark.parametrize("late_s", [0.0, 0.03, 0.099])
def test_a_run_keeps_its_moment_if_its_batch_was_late(late_s: float) -> None:
    assert Moments(0.1).after(7.0, 7.0 + late_s) == 7.1


@pytest.mark.parametrize("number", range(12))
def test_a_run_that_was_silent_has_its_next_moment_soon(number: int) -> None:
    moments = Moments(0.1)
    for _ in range(number):
        moments.after(NEVER, 8.0)
    assert 9.0 < moments.after(7.0, 9.0) <= 9.1


def test_what_is_hurried_does_not_move_the_next_moment() -> None:
    assert Moments(0.1).after(7.1, 7.03) == 7.1


def test_without_gathering_the_next_batch_may_leave_at_once() -> None:
    assert Moments(0.0).after(7.0, 7.5) == 7.5
