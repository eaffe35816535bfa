"""Which runs are looked at, and when: none is forgotten, and none is asked about too often."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broadcaster.core.event import EventId
from broadcaster.core.runs.silent import AT_ONCE, LOOK_S, SilentRuns, Waiting

ONE, OTHER = EventId(1, 0), EventId(2, 0)


def test_a_run_is_looked_at_now_and_then() -> None:
    runs = SilentRuns()
    assert runs.due(0.0, {ONE: 1}) == [ONE]
    assert runs.due(LOOK_S - 0.1, {ONE: 1}) == []
    assert runs.due(LOOK_S, {ONE: 1, OTHER: 1}) == [OTHER, ONE]


def test_a_newcomer_need_not_wait() -> None:
    runs = SilentRuns()
    runs.due(0.0, {ONE: 2})
    assert runs.due(0.1, {ONE: 1}) == []
    assert runs.due(0.2, {ONE: 2}) == [ONE]


def test_a_run_that_has_got_an_event_is_forgotten() -> None:
    runs = SilentRuns()
    runs.due(0.0, {ONE: 1})
    assert runs.due(0.1, {}) == []
    assert runs.due(0.2, {ONE: 1}) == [ONE]


def test_of_too_many_the_others_come_next() -> None:
    runs, many = SilentRuns(), {EventId(n, 0): 1 for n in range(AT_ONCE + 2)}
    assert len(runs.due(0.0, many)) == AT_ONCE
    assert runs.due(0.1, many) == [EventId(AT_ONCE, 0), EventId(AT_ONCE + 1, 0)]


@given(st.lists(st.dictionaries(st.integers(0, 3), st.integers(1, 3)), max_size=12))
def test_every_run_is_looked_at_in_time(ticks: list[dict[int, int]]) -> None:
    runs, last, before = SilentRuns(), dict[EventId, int](), dict[EventId, int]()
    for now_s, tick in enumerate(ticks):
        followers = {EventId(n, 0): count for n, count in tick.items()}
        due = set(runs.due(float(now_s), followers))
        last = {run: last[run] for run in followers if run in last}
        for run, count in followers.items():
            late = run not in last or now_s - last[run] >= LOOK_S or count > before[run]
            assert (run in due) == late
            if late:
                last[run] = now_s
        before = followers


def test_what_is_worth_telling() -> None:
    assert Waiting(1_000, 1).worth_telling
    assert not Waiting(999, 1).worth_telling
    assert not Waiting(1_000, 0).worth_telling
