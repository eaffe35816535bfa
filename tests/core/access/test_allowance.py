"""An allowance fills at its rate, up to its size, and what is owed is waited for."""

from __future__ import annotations

from broadcaster.core.access.allowance import Allowance


def test_it_begins_full_and_is_never_fuller() -> None:
    allowance = Allowance(per_s=2.0, size=10.0, now_s=100.0)
    assert allowance.left(100.0) == 10.0
    assert allowance.left(500.0) == 10.0
    assert allowance.spend(4.0, 500.0) == 0.0
    assert allowance.left(501.0) == 8.0


def test_what_is_owed_has_to_be_waited_for() -> None:
    allowance = Allowance(per_s=2.0, size=10.0, now_s=0.0)
    assert allowance.spend(16.0, 0.0) == 3.0
    assert allowance.left(2.0) == -2.0
    assert allowance.spend(0.0, 2.0) == 1.0
    assert allowance.spend(0.0, 3.0) == 0.0
