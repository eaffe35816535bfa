"""What is remembered of lost histories."""

from __future__ import annotations

from broadcaster.core.event import ZERO, EventId
from broadcaster.core.history.dropped import Dropped


def at(ms: int) -> EventId:
    return EventId(ms, 0)


def test_ids_are_remembered_and_no_range() -> None:
    dropped = Dropped(10)
    dropped.end(at(2), at(900), [at(3), at(900)])
    assert [at(ms) in dropped for ms in (2, 3, 4, 900, 901)] == [False, True, False, True, False]
    assert ZERO not in dropped


def test_what_was_lost_just_now_concerns_those_that_are_connected() -> None:
    dropped = Dropped(10)
    assert not dropped.just_now(at(3))
    dropped.end(at(2), at(3), [at(3)])
    assert dropped.just_now(at(3))
    dropped.end(at(4), at(5), [at(5)])
    assert not dropped.just_now(at(3))  # it is of the history of before, which had this id again
    dropped.nothing()
    assert not dropped.just_now(at(5))
    dropped.all(ZERO, at(7), [at(7)])
    assert dropped.just_now(at(6))


def test_a_reader_goes_on_where_the_first_of_its_lost_parts_began() -> None:
    dropped = Dropped(10)
    dropped.end(at(4), at(6), [at(5), at(6)])
    assert dropped.parted(at(5), ZERO) == at(4)
    dropped.end(at(2), at(3), [at(3)])
    assert at(5) in dropped
    assert dropped.parted(at(5), ZERO) == at(2)
    dropped.all(at(1), at(9), [at(9)])
    assert [dropped.parted(at(ms), ZERO) for ms in (3, 5, 9)] == [at(1)] * 3
    assert dropped.parted(at(2), ZERO) is None


def test_an_id_after_a_lost_part_may_be_of_an_entry_that_another_node_has_seen() -> None:
    dropped = Dropped(10)
    dropped.end(at(4), at(6), [at(6)])
    assert dropped.parted(at(7), floor=at(3)) == at(4)
    assert dropped.parted(at(7), floor=at(4)) == at(4)
    assert dropped.parted(at(7), floor=at(5)) is None  # it is too long ago
    assert dropped.parted(at(5), floor=at(3)) is None


def test_the_oldest_parts_are_forgotten_and_the_newest_is_kept_whole() -> None:
    dropped = Dropped(3)
    dropped.end(at(1), at(3), [at(2), at(3)])
    dropped.all(at(1), at(4), [at(4)])
    assert [at(ms) in dropped for ms in (2, 3, 4)] == [True] * 3
    dropped.end(at(5), at(9), [at(ms) for ms in range(6, 10)])
    assert [at(ms) in dropped for ms in (2, 3, 4)] == [False] * 3
    assert [at(ms) in dropped for ms in range(6, 10)] == [True] * 4
    assert ZERO in dropped
