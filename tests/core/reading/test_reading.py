"""Values that are taken one by one, and the position after each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.core import sse
from broadcaster.core.access.grants import Holder
from broadcaster.core.event import ZERO, Event, EventId, Live, Reset, StateFollows
from broadcaster.core.fanout.hub import Hub
from broadcaster.core.fanout.turns import Reader
from broadcaster.core.filter import KeysAndTypes
from broadcaster.core.history.window import Window
from broadcaster.core.log import AnyQuestion, AtOrBefore, PageAfter, Past
from broadcaster.core.reading.logpage import LogPage
from broadcaster.core.reading.reading import Reading, Yielded
from broadcaster.core.resume.beginning import restore
from broadcaster.core.resume.machine import Resume
from broadcaster.core.resume.opening import Serve
from broadcaster.core.resume.steps import Ask, For
from broadcaster.core.sse import Frame
from broadcaster.core.state.values import Rules
from broadcaster.core.subscription import Subscription
from broadcaster.core.wire import Ending, ResetReason

A = Subscription(("a",))
AB = Subscription(("a", "b"))


def at(ms: int) -> EventId:
    return EventId(ms, 0)


def frame(ms: int, key: str = "", type_: str = "t") -> Frame:
    return sse.encode(Event(at(ms), type_, key, b"%d" % ms))


def event(ms: int, channel: str = "a", key: str = "") -> Event:
    return Event(at(ms), "t", key, b"%d" % ms, channel)


class Question(NamedTuple):
    """What was asked, and of whom."""

    resume: Resume
    ask: Ask
    reader: Reader | None = None


class Log:
    """Answers at once if it has the entries, and else when a test says so."""

    def __init__(self, **entries: list[Frame]) -> None:
        self.entries = entries
        self.open: list[Question] = []
        self.cancelled = 0
        self.rests: list[tuple[float, Callable[[], object]]] = []

    def ask(self, resume: Resume, ask: Ask, wake: Callable[[], object], reader: Any) -> Log:
        if ask.stream in self.entries:
            assert isinstance(ask.question, PageAfter), ask
            position = ask.question.position
            found = [one for one in self.entries[ask.stream] if one.id > position][:3]
            assert resume.answered(ask, Past(found, found[-1].id, proven=True))
        else:
            self.open.append(Question(resume, ask, reader))
        return self

    def rest(self, reader: Reader, wake: Callable[[], object]) -> Log:
        self.rests.append((reader.rest_s, wake))
        return self

    def cancel(self) -> None:
        self.cancelled += 1

    def asked(self) -> AnyQuestion:
        return self.open[-1].ask.question


def made(hub: Hub, serve: Serve, log: Log | None = None) -> Reading:
    return Reading(hub, log or Log(), serve, lambda: None)


def hub_of(*streams: str, events: int = 100) -> Hub:
    return Hub({name: Window(events, 100_000) for name in streams or ("a",)})


def add(hub: Hub, stream: str, *frames: Frame) -> None:
    for _ in hub.fan_out(stream, frames):
        pass


def taken(reading: Reading) -> list[Yielded]:
    """All values up to where it has to wait."""
    found = list[Yielded]()
    while reading.advance():
        while (value := reading.take()) is not None:
            found.append(value)
    return found


def test_values_come_in_order_and_the_position_with_them() -> None:
    hub = hub_of()
    add(hub, "a", frame(1), frame(2))
    reading = made(hub, Serve(A, {"a": ZERO}))
    assert (reading.cursor, reading.at_head) == (b"0-0", False)
    assert reading.take() is None
    assert reading.advance()
    assert reading.take() == event(1)
    assert reading.cursor == b"1-0"
    assert (reading.untaken, reading.at_head) == (True, False)
    assert reading.take() == event(2)
    assert (reading.untaken, reading.at_head) == (False, False)
    assert reading.take() == Live(2)
    assert reading.take() is None
    assert (reading.cursor, reading.at_head) == (b"2-0", True)
    assert not reading.advance()
    assert reading.waits_for is None
    assert reading.ended is None
    add(hub, "a", frame(3))
    assert taken(reading) == [event(3)]


def test_a_live_one_moves_past_what_is_left_out() -> None:
    hub = hub_of()
    reading = made(hub, Serve(Subscription(("a",), KeysAndTypes.of(["k"])), {"a": ZERO}))
    assert taken(reading) == [Live(0)]
    add(hub, "a", frame(1), frame(2, "l"))
    assert (reading.cursor, reading.at_head) == (b"2-0", True)


def test_two_streams_have_one_position() -> None:
    hub = hub_of("a", "b")
    add(hub, "a", frame(1), frame(3))
    add(hub, "b", frame(2))
    reading = made(hub, Serve(AB, {"a": ZERO, "b": ZERO}))
    reading.advance()
    at_each = []
    while (value := reading.take()) is not None:
        at_each.append((value, reading.cursor))
    assert at_each == [
        (event(1), b"a=1-0,b=0-0"),
        (event(2, "b"), b"a=1-0,b=2-0"),
        (event(3), b"a=3-0,b=2-0"),
        (Live(3), b"a=3-0,b=2-0"),
    ]


def test_a_position_between_entries_has_a_name() -> None:
    hub = hub_of()
    reading = made(hub, Serve(A, {"a": at(7).before()}))
    assert reading.cursor == b"a=6-18446744073709551615"


def test_the_log_is_asked_and_the_answer_taken() -> None:
    hub = hub_of(events=2)
    add(hub, "a", *[frame(ms) for ms in range(1, 8)])
    log = Log()
    reading = made(hub, Serve(A, {"a": at(1)}, resumed=True), log)
    assert reading.advance()  # the first bytes
    assert reading.take() is None
    assert not reading.advance()
    assert log.asked() == PageAfter(at(1))
    assert reading.waits_for is For.LOG
    assert not reading.at_head
    log.open[0].resume.answered(log.open[0].ask, Past([frame(4), frame(5)], at(5), proven=True))
    assert taken(reading) == [event(4), event(5), event(6), event(7), Live(4)]
    reading.close()
    assert log.cancelled == 1


def test_the_log_is_asked_for_the_client_that_reads() -> None:
    hub, log, reader = hub_of(events=2), Log(), Reader("10.0.0.1")
    add(hub, "a", *[frame(ms) for ms in range(1, 8)])
    begun = Serve(A, {"a": at(1)}, resumed=True)
    reading = Reading(hub, log, begun, lambda: None, reader)
    reading.charge(1.0)
    assert log.rests == [], "nothing was left out yet"
    assert taken(reading) == []
    assert log.open[0].reader is reader


def with_state() -> Hub:
    """A hub that has 1-0 to 3-0 in its window, and the state of two keys."""
    hub = Hub({"a": Window(100, 100_000)}, rules={"a": Rules("last")})
    hub.states.rewritten("a")  # the window is empty, and so is the state
    add(hub, "a", frame(1, "k"), frame(2, "l"), frame(3, "k"))
    return hub


STATE: list[Yielded] = [StateFollows("a", None, 2), event(3, key="k"), event(2, key="l"), Live(2)]


def test_amid_a_state_the_id_asks_for_the_state_and_after_it_the_events_have_theirs() -> None:
    hub = with_state()
    reading = made(hub, Serve(A, {"a": at(3)}, states=["a"]))
    assert (reading.partial, reading.cursor) == (True, b"3-0")
    found = list[tuple[Yielded, bytes]]()
    while reading.advance():
        while (value := reading.take()) is not None:
            found.append((value, reading.cursor))
    assert found == list(zip(STATE, [b"state", b"state", b"state", b"3-0"], strict=True))
    assert not reading.partial
    add(hub, "a", frame(4, "k"))
    assert taken(reading) == [event(4, key="k")]
    assert reading.cursor == b"4-0"


def test_a_filter_that_leaves_out_all_of_a_state_and_of_a_page_moves_on() -> None:
    hub = with_state()
    others = Subscription(("a",), KeysAndTypes.of(["other"]))
    reading = made(hub, Serve(others, {"a": at(3)}, states=["a"]))
    assert taken(reading) == [StateFollows("a", None, 0), Live(0)]
    hub.lag(reading.subscriber)
    add(hub, "a", frame(5, "k"))
    assert taken(reading) == []
    assert reading.cursor == b"5-0"


def test_the_state_follows_a_reset_unless_it_is_not_wanted() -> None:
    hub = with_state()
    lost = Serve(A, {"a": EventId(2, 7)}, resumed=True)
    reading = made(hub, lost)
    reset = Reset("a", None, "unknown", "2-7", "3-0", state=True)
    assert taken(reading) == [reset, *STATE]
    log = Log()
    stateless = Reading(hub, log, Serve(A, {"a": at(3)}), lambda: None, with_state=False)
    assert taken(stateless) == [Live(0)]
    hub.restart("a", at(50), complete=True)
    assert taken(stateless) == []
    log.open[-1].resume.answered(log.open[-1].ask, Past([], at(3), proven=False))
    assert taken(stateless) == [Reset("a", None, "trimmed", "3-0", "50-0"), Live(0)]


def test_a_reset_tells_where_it_goes_on() -> None:
    hub = hub_of(events=2)
    add(hub, "a", *[frame(ms) for ms in range(1, 8)])
    log = Log()
    reading = made(hub, Serve(A, {"a": at(1)}, resumed=True), log)
    assert taken(reading) == []
    log.open[-1].resume.answered(log.open[-1].ask, Past([], at(1), proven=False))
    assert taken(reading) == []
    assert log.asked() == AtOrBefore(at(1))
    log.open[-1].resume.answered(log.open[-1].ask, at(5))
    assert reading.advance()
    assert reading.take() == Reset("a", None, "trimmed", "1-0", "5-0")
    assert reading.cursor == b"5-0"
    assert taken(reading) == [event(6), event(7), Live(2)]


def test_a_cursor_that_can_not_be_read_is_a_reset_of_each_stream() -> None:
    hub = hub_of("s.0", "s.1")
    subscription = Subscription(("s.0", "s.1"), sharded=True)
    positions = {"s.0": ZERO, "s.1": ZERO}
    serve = Serve(subscription, positions, unreadable="?" * 100, reason=ResetReason.GONE)
    assert taken(made(hub, serve)) == [
        Reset("s", 0, "gone", "?" * 64, "0-0"),
        Reset("s", 1, "gone", "?" * 64, "0-0"),
        Live(0),
    ]


def test_one_that_waits_for_the_tailer_has_all_that_the_node_has() -> None:
    hub, log = hub_of(), Log()
    reading = made(hub, Serve(A, {"a": at(9)}, resumed=True), log)
    assert taken(reading) == []
    log.open[-1].resume.answered(log.open[-1].ask, True)
    assert taken(reading) == []
    assert reading.waits_for is For.TAILER
    assert (reading.at_head, reading.cursor) == (True, b"9-0")


def test_it_ends_after_a_terminal_event() -> None:
    hub = hub_of()
    add(hub, "a", frame(1), frame(2, type_="end"), frame(3))
    terminal = frozenset({"end"})
    reading = made(hub, Serve(Subscription(("a",), terminal=terminal), {"a": ZERO}))
    assert reading.advance()
    reading.take()
    assert not reading.ended
    assert reading.take() == event(2)._replace(type="end")
    assert reading.take() is None
    assert (reading.ended, reading.cursor) == (Ending.COMPLETE, b"2-0")
    assert not reading.advance()


def test_it_is_ended_with_its_grant_and_keeps_its_position() -> None:
    hub = hub_of()
    holder = Holder("ann", expires_s=5.0)
    reading = made(hub, Serve(A, {"a": ZERO}, holder=holder))
    add(hub, "a", frame(1))
    assert taken(reading) == [event(1), Live(1)]
    assert reading.subscriber.holder is holder
    hub.end(reading.subscriber, Ending.EXPIRED)
    assert (reading.ended, reading.cursor) == (Ending.EXPIRED, b"1-0")


def test_what_is_not_taken_is_not_delivered() -> None:
    hub = hub_of()
    add(hub, "a", *[frame(ms) for ms in range(1, 6)])
    reading = made(hub, Serve(A, {"a": ZERO}))
    reading.give_back()
    reading.advance()
    reading.take()
    reading.take()
    assert hub.deliveries == 5
    reading.give_back()
    reading.give_back()
    assert (hub.deliveries, hub.delivered_bytes) == (2, len(frame(1).wire) * 2)
    reading.close()
    assert (reading.cursor, len(hub.subscribers)) == (b"2-0", 0)
    reading.close()


@pytest.mark.parametrize("reader", [None, Reader("ann")])
def test_a_client_rests_after_a_page_that_leaves_much_out(reader: Reader | None) -> None:
    hub, log, wakes = hub_of(events=5000), Log(), list[int]()
    add(hub, "a", *[frame(ms) for ms in range(1, 2500)])
    subscription = Subscription(("a",), KeysAndTypes.of((), ["other"]))
    serve = Serve(subscription, {"a": ZERO})
    reading = Reading(hub, log, serve, lambda: wakes.append(1), reader)
    assert reading.advance()
    assert reading.take() is None
    assert reading.cursor == b"1000-0"
    reading.charge(1.0)
    if reader:
        assert not reading.advance()
        ((rest_s, wake),) = log.rests
        assert rest_s == 5.0
        wake()
        assert wakes == [1]
    assert taken(reading) == [Live(0)]
    reading.charge(1.0)  # it was the last page
    assert len(log.rests) == bool(reader)
    reading.close()


def test_a_rest_ends_with_its_client() -> None:
    hub, log = hub_of(events=5000), Log()
    add(hub, "a", *[frame(ms) for ms in range(1, 2500)])
    subscription = Subscription(("a",), KeysAndTypes.of((), ["other"]))
    reading = Reading(hub, log, Serve(subscription, {"a": ZERO}), lambda: None, Reader("ann"))
    reading.advance()
    reading.charge(1.0)
    reading.close()
    assert log.cancelled == 1


# All pages together are the log

KEYS, TYPES = ["", "k", "l"], ["t", "u"]
ENTRIES = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(KEYS), st.sampled_from(TYPES)),
    max_size=30,
)
FILTERS = st.sets(st.sampled_from(["k", "l"])), st.sets(st.sampled_from(TYPES))


def page_of(reading: Reading, limit: int) -> list[tuple[EventId, str]]:
    """Take a page, as the endpoint does."""
    page, found = LogPage(limit), list[tuple[EventId, str]]()
    while page.count < limit and reading.advance():
        while not (page.full and reading.untaken) and (value := reading.take()) is not None:
            assert not isinstance(value, Reset)
            page.add(value, reading.cursor)
            if isinstance(value, Event):
                found.append((value.id, value.channel))
        reading.give_back()
    assert page.count == len(found)
    return found


@pytest.mark.parametrize("streams", [("a",), ("a", "b")])
@given(
    entries=ENTRIES,
    window=st.integers(1, 10),
    keys=FILTERS[0],
    types=FILTERS[1],
    limits=st.lists(st.integers(1, 6), min_size=40, max_size=40),
    later=ENTRIES,
)
def test_pages_of_any_size_with_any_filter_are_the_log(
    streams: tuple[str, ...],
    entries: list[tuple[str, str, str]],
    window: int,
    keys: set[str],
    types: set[str],
    limits: list[int],
    later: list[tuple[str, str, str]],
) -> None:
    """Each page is a request of its own, which has nothing of the last one but its `next`."""
    hub = hub_of(*streams, events=window)
    log = Log(**{name: [] for name in streams})
    subscription = Subscription(streams, KeysAndTypes.of(keys, types))
    wanted = list[tuple[EventId, str]]()

    def publish(several: list[tuple[str, str, str]]) -> None:
        for stream, key, type_ in several:
            if stream in streams:
                made = frame(sum(map(len, log.entries.values())) + 1, key, type_)
                log.entries[stream].append(made)
                add(hub, stream, made)
                if (not keys or key in keys) and (not types or type_ in types):
                    wanted.append((made.id, stream))

    publish(entries)
    found, cursor, counted = list[tuple[EventId, str]](), b"0", 0
    for number, limit in enumerate(limits):
        if number == 3:
            publish(later)
        positions, *_ = restore(cursor.decode(), subscription, ())
        reading = made(hub, Serve(subscription, positions, resumed=True), log)
        told = page_of(reading, limit)
        found += told
        assert len(told) <= limit
        counted += len(told)
        cursor = reading.cursor
        reading.close()
    assert sorted(found) == sorted(wanted)
    for stream in streams:
        ids = [id_ for id_, name in found if name == stream]
        assert ids == sorted(set(ids))
    assert hub.deliveries == counted == len(found)
