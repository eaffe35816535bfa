"""Where two histories part, for everything that can happen to an entry."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.core.event import ZERO, EventId
from broadcaster.core.history import comparison
from broadcaster.core.history.comparison import Comparison
from broadcaster.core.history.window import Window
from broadcaster.core.sse import Frame


def at(ms: int) -> EventId:
    return EventId(ms, 0)


def frames(text: str) -> list[Frame]:
    """`abc` is three entries with the ids 1, 2 and 3; a space is none."""
    return [
        Frame(at(number), "t", "", letter.encode())
        for number, letter in enumerate(text, 1)
        if letter != " "
    ]


def common(
    ours: str, theirs: str, *, deleted: int = 0, at_head: bool = False, page: int = 2
) -> int | None:
    window = Window(100, 10_000)
    window.append(frames(ours))
    compared = Comparison(window, at(deleted), at_head=at_head)
    rows = list(reversed(frames(theirs)))
    for start in range(0, len(rows), page):
        if not compared.over:
            compared.add(rows[start : start + page])
    return compared.common.ms if compared.common else None


@pytest.mark.parametrize(
    ("ours", "theirs", "newest"),
    [
        ("abcd", "abcd", 4),
        ("abcd", "ab", 2),  # a failover has lost the newest
        ("abcd", "abXd", 2),  # both gave an id, and an equal entry after it
        ("ab d", "abXd", 2),  # the window lacks one
        ("abcd", "ab d", 2),  # Redis lacks one
        ("abcd", "  cd", 4),  # the oldest are trimmed
        ("  cd", "abcd", 4),  # and here they have left the window
        ("abcd", "XYZW", None),
        ("abcd", "", None),
        ("", "abcd", None),
    ],
)
def test_histories_without_deletions(ours: str, theirs: str, newest: int | None) -> None:
    assert common(ours, theirs) == newest


@pytest.mark.parametrize(
    ("ours", "theirs", "deleted", "newest"),
    [
        ("abcdef", "ab def", 3, 6),
        ("abcdef", "a  d f", 5, 6),  # several
        ("abcdef", "     f", 5, 6),  # all but the newest
        ("abcdef", " bcdef", 1, 6),  # the oldest
        ("  cdef", "ab def", 3, 6),  # the oldest of the window
        ("abcdef", "   d f", 5, 6),  # and older ones are trimmed
        ("abcdef", "ab def", 2, 2),  # this one was not deleted, but lost
        ("abcdef", "abcde", 9, 5),  # lost, and later ones that the new master took were deleted
        ("abcdef", "abc", 9, 3),
        ("abcdef", "ab dXf", 9, 4),
        ("abcdef", "aX def", 3, 1),  # the older side of the hole is not equal
        ("abcdef", "ab Xef", 3, 2),  # nor is the newer side
    ],
)
def test_a_hole_is_passed_over_if_it_was_deleted_and_both_sides_are_equal(
    ours: str, theirs: str, deleted: int, newest: int | None
) -> None:
    assert common(ours, theirs, deleted=deleted) == newest


@pytest.mark.parametrize(
    ("theirs", "newest"),
    [("abcde", 6), ("ab", 6), ("", 6), ("abXde", 2), ("abcdX", 4), ("XYZ", None)],
)
def test_a_deleted_head_is_common_if_what_is_older_is_equal(
    theirs: str, newest: int | None
) -> None:
    assert common("abcdef", theirs, deleted=6, at_head=True) == newest


def test_enough_equal_entries_are_beyond_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "ENOUGH", 2)
    assert common("abcdef", "aXcdef") == 6
    assert common("abcdef", "aXcdXf") == 4


@given(
    kept=st.integers(0, 6),
    lost=st.integers(0, 4),
    own=st.integers(0, 4),
    deleted=st.sets(st.integers(1, 10)),
    trimmed=st.integers(0, 3),
    page=st.integers(1, 4),
)
def test_nothing_lost_counts_as_common(
    kept: int, lost: int, own: int, deleted: set[int], trimmed: int, page: int
) -> None:
    """A failover loses the end, and the new master takes entries and deletes some of all."""
    ours = "k" * kept + "l" * lost
    history = "k" * kept + "o" * own
    theirs = "".join(
        " " if n in deleted or n <= trimmed else letter for n, letter in enumerate(history, 1)
    )
    greatest = max((n for n in deleted if n <= len(history)), default=0)
    found = common(ours, theirs[: len(ours)], deleted=greatest, page=page)
    assert found is None or found <= kept
    retained = [n for n, letter in enumerate(theirs, 1) if letter == "k"]
    assert found == max(retained, default=None)


def test_nothing_was_deleted_as_long_as_redis_does_not_say_so() -> None:
    window = Window(100, 10_000)
    window.append(frames("abc"))
    assert Comparison(window).common is None
    assert Comparison(window, ZERO, at_head=True).common == at(3)
