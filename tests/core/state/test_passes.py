"""A pass has the newest event per key and type up to its end, and says how many it leaves out."""

from __future__ import annotations

import gc

import pytest

from broadcaster.core import sse
from broadcaster.core.event import ZERO, Event, EventId
from broadcaster.core.filter import KeysAndTypes
from broadcaster.core.history.window import Window
from broadcaster.core.sse import Frame
from broadcaster.core.state import passes as module
from broadcaster.core.state.passes import Gathering, Pass, Passes
from broadcaster.core.state.values import Rules
from broadcaster.core.subscription import Subscription

A = Subscription(("a",))
RULES = Rules("last", frozenset({"sold"}), terminal=frozenset({"done"}), coalesce=True)


def at(ms: int) -> EventId:
    return EventId(ms, 0)


def event(ms: int, key: str = "k", type_: str = "t") -> Frame:
    return sse.encode(Event(at(ms), type_, key, b"%d" % ms))


def made(*frames: Frame, window_events: int = 100) -> tuple[Window, Passes]:
    window = Window(window_events, 1 << 20)
    window.append(frames)
    return window, Passes({"a": window, "b": Window(9, 9)}, {"a": RULES, "b": Rules("last")})


def gathered(
    passes: Passes, subscription: Subscription = A, after: EventId = ZERO, most: int = 1 << 20
) -> Gathering:
    found = passes.gathering("a", subscription, after, most)
    while found.gather():
        pass
    return found


def cut(passes: Passes, subscription: Subscription = A, after: EventId = ZERO) -> Pass:
    """A pass of events that no page holds."""
    return gathered(passes, subscription, after).cut(0)


def ids(frames: object) -> list[int]:
    return [frame.id.ms for frame in frames]  # type: ignore[attr-defined]


def test_it_has_the_newest_event_of_each_key_and_type_in_order() -> None:
    _, passes = made(event(1), event(2, "l"), event(3, type_="u"), event(4), event(5, "l"))
    pass_ = cut(passes)
    assert (ids(pass_.frames), pass_.superseded, pass_.end) == ([3, 4, 5], 2, at(5))
    assert ids(cut(passes, A, at(4)).frames) == [5]


def test_terminal_events_removals_and_restarts_are_all_in_it() -> None:
    types = ["sold", "done", "stream.restart", "t"]
    frames = [event(ms, type_=types[ms % 4]) for ms in range(8, 16)]
    pass_ = cut(made(*frames)[1])
    assert (ids(pass_.frames), pass_.superseded) == ([8, 9, 10, 12, 13, 14, 15], 1)


def test_it_has_what_the_filter_admits_and_counts_nothing_else() -> None:
    frames = [event(1), event(2, "l"), event(3, "l"), event(4, type_="u"), sse.skipped(at(5))]
    _, passes = made(*frames)
    by_key = Subscription(("a",), KeysAndTypes.of({"l"}))
    pass_ = cut(passes, by_key)
    assert (ids(pass_.frames), pass_.superseded, pass_.end) == ([3], 1, at(5))
    by_type = Subscription(("a",), KeysAndTypes.of((), {"u"}))
    pass_ = cut(passes, by_type)
    assert (ids(pass_.frames), pass_.superseded) == ([4], 0)


def test_nothing_counts_after_the_end_of_the_response() -> None:
    _, passes = made(event(1), event(2), event(3, type_="done"), event(4), event(5))
    ends = Subscription(("a",), KeysAndTypes.of({"k"}), frozenset({"done"}))
    pass_ = cut(passes, ends)
    assert (ids(pass_.frames), pass_.superseded) == ([2, 3], 1)


def test_its_pages_are_bounded_and_its_last_one_ends_with_it() -> None:
    _, passes = made(event(1), event(2, "l"), sse.skipped(at(3)))
    pass_ = cut(passes)
    (first,), end = pass_.after(ZERO, 1)
    assert (first.id, end) == (at(1), at(1))
    found, end = pass_.after(end, 1)
    assert (ids(found), end) == ([2], at(3))
    assert pass_.after(at(2), 1) == ([], at(3))


def test_it_leaves_nothing_out_if_a_page_holds_every_event() -> None:
    window, passes = made(event(1), event(2))
    gathering = gathered(passes)
    size = len(event(1).wire)
    assert [ids(gathering.cut(n).frames) for n in (size, size + 1)] == [[2], [1, 2]]
    assert gathering.cut(size + 1).superseded == 0
    assert gathering.cut(size + 1) is gathering.cut(size * 9)
    window.max_events = 2000
    window.append([event(ms) for ms in range(3, 1001)])
    assert len(gathered(passes).cut(1 << 20).frames) == 1000
    window.append([event(1001)])
    found = gathered(passes).cut(1 << 20)
    assert (ids(found.frames), found.superseded) == ([1001], 1000)


def test_it_is_fixed_while_the_next_one_is_gathered() -> None:
    window, passes = made(event(1), event(2, "l"), window_events=2)
    first = cut(passes)
    following = gathered(passes, after=first.end)
    for ms in range(3, 9):  # more than the window has, but never at once
        window.append([event(ms)])
        assert not following.gather()
    assert ids(first.frames) == [1, 2]
    then = following.cut(0)
    assert (ids(then.frames), then.superseded, then.end) == ([8], 5, at(8))
    assert following.cut(0) is then


def test_it_is_gathered_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE", 2)
    _, passes = made(*[event(ms, "kl"[ms % 2]) for ms in range(1, 6)])
    gathering = passes.gathering("a", A, ZERO, 1 << 20)
    assert [gathering.gather() for _ in range(4)] == [True, True, False, False]
    assert (ids(gathering.cut(0).frames), gathering.end) == ([4, 5], at(5))
    of_k = passes.gathering("a", Subscription(("a",), KeysAndTypes.of({"k"})), ZERO, 1 << 20)
    assert [of_k.gather() for _ in range(2)] == [True, False]
    assert (ids(of_k.cut(0).frames), of_k.end) == ([4], at(5))


def test_the_next_one_is_lost_if_the_window_drops_events_that_it_has_not() -> None:
    window, passes = made(event(1), window_events=2)
    following = gathered(passes, after=at(1))
    window.append([event(2), event(3), event(4)])
    assert following.lost
    assert not following.gather()
    assert passes.gathering("a", A, at(1), 1) is not following


def test_it_takes_in_no_more_than_it_may() -> None:
    """Events that are never skipped, as these removals, would be gathered without a bound."""
    window, passes = made(*[event(ms, type_="sold") for ms in range(1, 6)])
    size = len(event(1, type_="sold").wire)
    following = gathered(passes, most=3 * size - 1)
    assert following.full
    assert (ids(following.cut(1 << 20).frames), following.end) == ([1, 2, 3], at(3))
    window.append([event(6)])
    assert not following.gather()
    assert following.bytes == 3 * size
    window.append([event(ms) for ms in range(7, 200)])
    assert not following.lost
    busy = gathered(passes, after=at(150), most=3 * size)
    assert not busy.full, "what is superseded takes no place"


def test_equal_needs_share_it_as_long_as_it_is_needed() -> None:
    window, passes = made(event(1), event(2))
    first = gathered(passes)
    assert passes.gathering("a", Subscription(("a",)), ZERO, 1) is first
    assert passes.gathering("a", A, at(1), 1) is not first
    window.append([event(3)])
    assert ids(cut(passes).frames) == [3]
    other = gathered(passes, Subscription(("a",), KeysAndTypes.of({"k"})))
    assert other is not first
    del first
    gc.collect()
    assert len(passes._shared) == 1
    passes.rewritten("b")
    assert len(passes._shared) == 1
    passes.rewritten("a")
    assert len(passes._shared) == 0


def test_only_streams_of_channels_that_coalesce_have_passes() -> None:
    _, passes = made()
    assert passes.streams == {"a"}
    assert passes.superseded == {"a": 0, "b": 0}
