"""Items by the time at which they expire."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broadcaster.core.access.expiries import SWEEP_S, Expiries


def test_what_has_expired_is_found_once_and_never_early() -> None:
    expiries = Expiries[str]()
    for name, at_s in (("later", 101.0), ("first", 100.0), ("second", 100.1), ("old", 3.0)):
        expiries.add(name, at_s)
    assert expiries.due(2.9) == []
    assert expiries.due(100.0) == ["old", "first"]
    assert expiries.due(100.1) == []  # it comes with the next sweep
    assert expiries.due(100.1 + SWEEP_S) == ["second"]
    assert len(expiries) == 1
    assert expiries.due(1e9) == ["later"]
    assert expiries.due(1e9) == []


def test_one_that_is_gone_is_not_found() -> None:
    expiries = Expiries[str]()
    expiries.add("a", 100.0)
    expiries.add("b", 100.0)
    expiries.discard("a", 100.0)
    expiries.discard("a", 100.0)
    expiries.discard("c", 7.0)
    assert expiries.due(200.0) == ["b"]


def test_a_grant_without_a_likely_end_is_one_too() -> None:
    expiries = Expiries[str]()
    expiries.add("a", float("inf"))
    assert expiries.due(1e10) == []
    assert len(expiries) == 1


def test_clients_that_come_and_go_leave_nothing() -> None:
    expiries = Expiries[int]()
    for number in range(10_000):
        expiries.add(number, 1e9 + number % 977)
        expiries.discard(number, 1e9 + number % 977)
    assert len(expiries) == len(expiries._slots) == 0
    assert len(expiries._order) < 100


times = st.floats(0, 50)


@given(st.lists(st.tuples(times, st.booleans())), st.lists(times))
def test_all_are_found_in_time_whatever_comes_and_goes(
    items: list[tuple[float, bool]], sweeps: list[float]
) -> None:
    expiries, found = Expiries[int](), set[int]()
    for number, (at_s, goes) in enumerate(items):
        expiries.add(number, at_s)
        if goes:
            expiries.discard(number, at_s)
    stay = {number: at_s for number, (at_s, goes) in enumerate(items) if not goes}
    for now_s in sorted(sweeps):
        new = set(expiries.due(now_s))
        assert not new & found
        found |= new
        assert all(stay[number] <= now_s for number in found)
        assert found >= {number for number, at_s in stay.items() if at_s <= now_s - SWEEP_S}
    assert len(expiries) == len(stay) - len(found)
