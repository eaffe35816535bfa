"""Repeated works that share a wake-up of the process."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.core.ticks import until_tick


@given(st.sampled_from([0.05, 0.1, 0.25, 1.0]), st.integers(0, 10**10))
def test_a_work_is_due_at_the_next_multiple_of_its_period(period_s: float, now_ms: int) -> None:
    wait_ms = until_tick(period_s, now_ms / 1000) * 1000
    assert 0 < wait_ms <= period_s * 1000
    assert round(wait_ms) == pytest.approx(wait_ms)
    assert (now_ms + round(wait_ms)) % round(period_s * 1000) == 0


def test_a_period_below_a_millisecond_is_one() -> None:
    assert until_tick(0.0, 7.0) == 0.001
