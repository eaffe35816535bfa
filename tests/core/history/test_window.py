import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.core.event import ZERO, EventId
from broadcaster.core.history.window import Place, Window
from broadcaster.core.sse import Frame, skipped


def frame(ms: int, key: str = "", size: int = 10) -> Frame:
    return Frame(EventId(ms, 0), "t", key, b"x" * size)


def at(ms: int) -> EventId:
    return EventId(ms, 0)


def window_of(*frames: Frame, max_events: int = 100, max_bytes: int = 10_000) -> Window:
    window = Window(max_events, max_bytes)
    window.append(frames)
    return window


def ids(page: tuple[list[Frame], bool]) -> list[int]:
    return [frame.id.ms for frame in page[0]]


def test_places() -> None:
    window = Window(2, 10_000)
    assert window.place(ZERO) is Place.COVERED
    assert window.place(at(1)) is Place.AHEAD
    window.append([frame(2), frame(4), frame(6)])
    assert window.floor == at(2)
    assert [window.place(at(ms)) for ms in range(1, 8)] == [
        Place.BEHIND, Place.COVERED, Place.UNKNOWN, Place.COVERED, Place.UNKNOWN, Place.COVERED,
        Place.AHEAD,
    ]  # fmt: skip


def test_the_position_just_before_an_entry_is_as_good_as_the_one_before_it() -> None:
    window = window_of(frame(2), frame(4))
    assert window.place(at(4).before()) is Place.COVERED
    assert ids(window.after(at(4).before())) == [4]


def test_a_page_ends_with_the_frame_that_reaches_the_limit() -> None:
    window = window_of(*(frame(ms) for ms in range(1, 6)))
    assert ids(window.after(at(1), max_bytes=20)) == [2, 3]
    assert not window.after(at(1), max_bytes=20)[1]
    assert window.after(at(3), max_bytes=20) == ([frame(4), frame(5)], True)
    assert ids(window.after(at(1), max_bytes=1)) == [2]
    assert window.after(at(5)) == ([], True)


def test_a_page_has_at_most_a_thousand_frames() -> None:
    window = window_of(*(frame(ms, "k") for ms in range(1, 1503)), max_events=2000, max_bytes=10**6)
    for keys in ((), ("k",)):
        page, exhausted = window.after(at(1), keys)
        assert (len(page), exhausted) == (1000, False)
        page, exhausted = window.after(page[-1].id, keys)
        assert (len(page), exhausted) == (501, True)


def test_bytes_bound_the_window_too() -> None:
    window = window_of(*(frame(ms, size=30) for ms in range(1, 6)), max_bytes=100)
    assert (len(window), window.bytes, window.floor) == (3, 90, at(2))
    window.append([frame(9, size=500)])
    assert (len(window), window.bytes, window.floor, window.head) == (0, 0, at(9), at(9))
    assert window.place(at(9)) is Place.COVERED
    assert window.oldest() is None


def test_evicting_forgets_keys() -> None:
    window = Window(2, 10_000)
    for ms in range(1, 20_000):
        window.append([frame(ms, f"k{ms}")])
    assert ids(window.after(window.floor, ("k19999", "k19998", "k19997"))) == [19998, 19999]
    assert len(window._places) == 2
    assert len(window._frames) < 10_000


def test_a_key_is_there_as_long_as_a_frame_of_it_is() -> None:
    window = Window(300, 1_000_000)
    assert not window.has("k")
    for ms in range(1, 400):
        window.append([frame(ms, "k")])
    window.append([frame(400, "other")])
    assert window.has("k")
    assert window.has("other")
    for ms in range(401, 701):
        window.append([frame(ms)])
        assert window.has("k") == (ms < 700 - 1)


def test_complete_means_that_redis_has_nothing_older() -> None:
    window = Window(2, 10_000)
    window.restart(at(5), complete=True)
    window.append([frame(6), frame(7)])
    seen = [window.complete]
    window.append([frame(8)])
    seen.append(window.complete)
    window.restart(at(5), complete=False)
    assert [*seen, window.complete] == [True, False, False]


def test_a_skipped_entry_keeps_its_place() -> None:
    window = window_of(frame(1), skipped(at(2)), frame(3))
    assert window.place(at(2)) is Place.COVERED
    assert window.get(at(2)) == skipped(at(2))


def test_get_and_oldest() -> None:
    window = window_of(frame(2), frame(4))
    assert window.get(at(2)) == frame(2)
    assert window.get(at(3)) is None
    assert window.get(at(9)) is None
    assert window.oldest() == at(2)


def test_at_or_before() -> None:
    window = Window(3, 10_000, floor=at(1))
    window.append([frame(2), frame(4), frame(6)])
    found = [window.at_or_before(at(ms)) for ms in range(8)]
    assert found == [None, at(1), at(2), at(2), at(4), at(4), at(6), at(6)]


def test_a_rewind_drops_entries_that_the_new_history_lacks() -> None:
    window = window_of(frame(1, "a"), frame(2, "b"), frame(3, "a"), frame(4, "c"))
    window.rewind(at(2))
    assert (window.head, len(window), window.bytes) == (at(2), 2, 20)
    assert ids(window.after(ZERO, ("a", "b", "c"))) == [1, 2]
    window.append([frame(5, "a")])
    assert ids(window.after(ZERO, ("a",))) == [1, 5]
    window.rewind(ZERO)
    assert (window.head, len(window), window.oldest()) == (ZERO, 0, None)


def test_a_reader_of_a_dropped_tail_goes_back_to_where_the_histories_part() -> None:
    window = window_of(frame(1), frame(2), frame(5), frame(6))
    window.rewind(at(2))
    # While the old master took 5 and 6, the new one took 3.
    window.append([frame(3), frame(7)])
    assert [at(ms) in window.dropped for ms in range(2, 8)] == [False] * 3 + [True] * 2 + [False]
    assert [window.resume_from(at(ms)) for ms in range(2, 7)] == [at(ms) for ms in (2, 3, 3, 2, 2)]
    assert window.resume_from(at(8)) == at(2)  # perhaps another node has seen it, after 6


def test_a_lost_id_of_the_future_leaves_other_positions_as_they_are() -> None:
    window = window_of(frame(1), frame(2), frame(9000))
    window.rewind(at(2))
    window.append([frame(3), frame(5)])
    assert at(9000) in window.dropped
    assert not any(at(ms) in window.dropped for ms in range(1, 8999))
    assert window.place(at(5)) is Place.COVERED
    assert window.place(at(4)) is Place.UNKNOWN
    assert window.resume_from(at(4)) == at(3)


def test_a_rewind_to_before_the_window_empties_it() -> None:
    window = Window(2, 10_000)
    window.append([frame(ms) for ms in range(1, 6)])
    window.rewind(at(2))
    assert (window.floor, window.head, len(window)) == (at(2), at(2), 0)
    assert [at(ms) in window.dropped for ms in range(1, 7)] == [False] * 2 + [True] * 3 + [False]


def test_a_stream_that_is_made_anew_has_lost_all_that_was_known_of_the_old_one() -> None:
    window = window_of(frame(1), frame(2))
    assert ZERO not in window.dropped
    window.restart(ZERO, parted=ZERO)
    window.append([frame(1), frame(2)])
    assert all(position in window.dropped for position in (ZERO, at(1), at(2)))
    assert window.resume_from(at(2)) == ZERO
    window.restart(ZERO)  # as after a new connection
    assert ZERO in window.dropped


def test_readers_of_a_stream_that_was_made_anew_go_on_at_its_beginning() -> None:
    window = window_of(frame(5), frame(6))
    window.restart(at(2), complete=True, parted=ZERO)
    assert window.resume_from(at(6)) == at(2)
    window.restart(at(8), complete=False)
    assert window.resume_from(at(6)) == ZERO  # which only the log has


def test_the_id_before_an_entry_is_a_boundary_only_if_nothing_older_is_retained() -> None:
    entries = [Frame(EventId(5, seq), "t", "", b"x") for seq in (2, 4, 6)]
    window = window_of(*entries)
    assert window.place(EventId(5, 1)) is Place.COVERED
    assert window.place(EventId(5, 3)) is Place.UNKNOWN
    small = window_of(*entries, max_events=2)
    assert small.place(EventId(5, 3)) is Place.UNKNOWN  # the oldest here, but not in Redis


def test_a_small_window_that_is_full_grows_no_more() -> None:
    window = Window(max_events=10, max_bytes=1 << 20)
    for ms in range(1, 5000):
        window.append([frame(ms, "k")])
    assert len(window._frames) < 300


def test_a_key_that_all_events_have_keeps_few_evicted_places() -> None:
    window = Window(max_events=1000, max_bytes=1 << 20)
    for ms in range(1, 5000):
        window.append([frame(ms, "hot")])
    places = window._places["hot"]
    assert isinstance(places, list)
    assert len(places) <= 2 * len(window)
    window.append([frame(ms, "other") for ms in range(5000, 6000)])
    assert list(window._places) == ["other"]


def test_after_a_rewind_a_key_keeps_no_evicted_places() -> None:
    window = Window(max_events=300, max_bytes=1 << 20)
    window.append([frame(ms, "a") for ms in range(1, 401)])  # a hundred are evicted
    window.rewind(EventId(200, 0))
    window.append([frame(ms, "b") for ms in range(401, 701)])
    assert list(window._places) == ["b"]


def page_cost_s(window: Window, keys: tuple[str, ...]) -> float:
    """The least CPU time that the first page takes."""
    costs = []
    for _ in range(20):
        start_s = time.thread_time()
        page, _ = window.after(window.floor, keys, 1000)
        costs.append(time.thread_time() - start_s)
        assert len(page) == 100
    return min(costs)


@pytest.mark.parametrize("keys", [("hot",), ("hot", "warm", "cold")])
def test_a_page_costs_no_more_when_its_keys_have_many_events(keys: tuple[str, ...]) -> None:
    costs = []
    for events in (1000, 60_000):
        window = Window(events, 1 << 30)
        window.append([frame(ms, keys[ms % len(keys)]) for ms in range(1, events + 1)])
        costs.append(page_cost_s(window, keys))
    # Frames far apart in memory cost more. A look at all of them costs twenty times as much.
    assert costs[1] <= 6 * costs[0]


@pytest.mark.parametrize(("compact_every", "long"), [(1, 3), (1, 256), (256, 3)])
@given(
    batches=st.lists(st.lists(st.sampled_from(["", "a", "b", "c"]), max_size=6), max_size=12),
    bounds=st.tuples(st.integers(1, 8), st.integers(10, 100)),
    rewinds=st.lists(st.integers(0, 12), max_size=2),
    keys=st.sets(st.sampled_from(["a", "b"])),
    limit=st.integers(1, 60),
)
def test_paging_through_a_window_gives_what_a_plain_list_holds(
    compact_every: int,
    long: int,
    batches: list[list[str]],
    bounds: tuple[int, int],
    rewinds: list[int],
    keys: set[str],
    limit: int,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("broadcaster.core.history.window._COMPACT_EVERY", compact_every)
        patch.setattr("broadcaster.core.history.window._LONG", long)
        window, model, ms = Window(*bounds), [], 0
        for number, batch in enumerate(batches):
            for key in batch:
                ms += 2
                model.append(frame(ms, key))
                window.append([model[-1]])
            if number in rewinds and len(window) > 1:
                model = [f for f in model if f.id <= model[-2].id]
                window.rewind(model[-1].id)
        kept = model[len(model) - len(window) :]
        assert len(window) <= bounds[0]
        assert window.bytes == sum(len(f.wire) for f in kept) <= bounds[1]
        assert window._places.keys() == {f.key for f in kept if f.key}
        for start in [window.floor, *(f.id for f in kept)]:
            wanted = [f for f in kept if f.id > start and (not keys or f.key in keys)]
            got: list[Frame] = []
            position, exhausted = start, False
            while not exhausted:
                page, exhausted = window.after(position, keys, limit)
                got += page
                position = page[-1].id if page else position
            assert got == wanted
