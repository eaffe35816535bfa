"""What a subscriber is sent of a state, and of its streams before and after it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from weakref import ReferenceType, ref

import orjson

from broadcaster.client.parser import Parser, StreamEvent
from broadcaster.core import sse
from broadcaster.core.channel import Channel
from broadcaster.core.event import ZERO, Event, EventId, Live, StateFollows
from broadcaster.core.fanout.heartbeat import BEATS, farewell
from broadcaster.core.fanout.hub import Hub
from broadcaster.core.fanout.subscriber import State, Subscriber
from broadcaster.core.filter import KeysAndTypes
from broadcaster.core.history.window import Window
from broadcaster.core.log import PageAfter, Past
from broadcaster.core.reading.reading import Reading
from broadcaster.core.resume.opening import NoContent, Opening, Serve
from broadcaster.core.resume.steps import Ask, For, Greeting, Send, Step, Wait
from broadcaster.core.sse import Frame
from broadcaster.core.state import states
from broadcaster.core.state.fold import Fold
from broadcaster.core.state.states import Rendering
from broadcaster.core.state.values import Rules, Value
from broadcaster.core.subscription import Subscription
from broadcaster.core.wanted import Wanted
from broadcaster.core.wire import ResetReason

RULES = Rules("last", frozenset({"sold"}), terminal=frozenset({"done"}))
A = Channel(name="a", path="/a", state="last", terminal=frozenset({"done"}))
B = Channel(name="b", path="/b")


def event(ms: int, key: str = "k", type_: str = "t") -> Frame:
    return sse.encode(Event(EventId(ms, 0), type_, key, b"%d" % ms))


def make_hub(*frames: Frame, window_events: int = 100) -> Hub:
    windows = {name: Window(window_events, 100_000) for name in ("a", "b")}
    hub = Hub(windows, 4000, {"a": RULES})
    for stream in windows:
        hub.restart(stream, ZERO, complete=True)
    fan_out(hub, "a", *frames)
    return hub


def fan_out(hub: Hub, stream: str, *frames: Frame) -> None:
    for _ in hub.fan_out(stream, frames):
        pass


class Client:
    """A client, from its request on."""

    def __init__(
        self,
        hub: Hub,
        *channels: Channel,
        start: str | int = "state",
        last_id: str = "",
        **narrow: Any,
    ) -> None:
        self.hub, self.parser, self.events = hub, Parser(last_id), list[StreamEvent]()
        keys, types = ([*narrow[n]] if n in narrow else [] for n in ("key", "type"))
        subscription = Subscription.to(channels or (A,), keys, types)
        positions = {"a": EventId.parse(last_id)} if last_id else {}
        unreadable = narrow.get("unreadable")
        wanted = Wanted(
            channels or (A,), subscription, positions, start=start, unreadable=unreadable  # type: ignore[arg-type]
        )  # fmt: skip
        self.verdict = Opening(hub.context, lambda _: None, wanted, 10_000).step()
        self.step: Step | None = None
        if isinstance(self.verdict, Serve):
            served = self.verdict
            self.subscriber = Subscriber(served.subscription, self.read, self.wake, pushed=True)
            greeting = Greeting(7, served.unreadable, served.reason)
            begun = self.subscriber, served.positions, greeting
            hub.add(*begun, resumed=served.resumed, states=served.states)
        self.wakes = 0

    def wake(self) -> None:
        self.wakes += 1

    def read(self, data: bytes) -> None:
        self.events += self.parser.feed(data)

    def go_on(self) -> Client:
        """Take steps until it is live, over, or has to wait."""
        while self.subscriber.state is State.LAGGING:
            self.step = self.hub.advance(self.subscriber)
            if not isinstance(self.step, Send):
                break
            self.read(b"".join(part.data for part in self.step.parts))
        return self

    @property
    def asked(self) -> Ask:
        """What it asks the log."""
        assert isinstance(self.step, Ask)
        return self.step

    @property
    def told(self) -> list[tuple[str, str, str]]:
        return [(event.type, event.data, event.id) for event in self.events]


STATE = ("stream.state", '{"channel":"a","keys":2}', "state")


def test_the_state_comes_without_positions_and_then_the_position() -> None:
    hub = make_hub(event(1, "k"), event(2, "l"), event(3, "k"), event(4, "l", "u"))
    client = Client(hub).go_on()
    assert client.told == [
        STATE,
        ("t", "3", "state"), ("t", "2", "state"), ("u", "4", "state"),
        ("stream.live", '{"replayed":3}', "4-0"),
    ]  # fmt: skip
    fan_out(hub, "a", event(5))
    assert client.told[5:] == [("t", "5", "5-0")]
    assert hub.deliveries == 4


def test_what_comes_while_the_state_is_sent_follows_it(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(states, "_PAGE_BYTES", 1)
    hub = make_hub(event(1, "k"), event(2, "l"))
    client = Client(hub)
    first = hub.advance(client.subscriber)
    assert isinstance(first, Send)
    client.read(b"".join(part.data for part in first.parts))
    fan_out(hub, "a", event(3, "l"), event(4, "k", "sold"))
    for _ in range(BEATS + 1):
        list(hub.beat())
    assert hub.proven(client.subscriber) is None
    assert farewell(client.subscriber, None, 5).startswith(b"retry: 5\nid: state\n")
    assert client.go_on().told == [
        STATE, ("t", "1", "state"), ("t", "2", "state"), ("stream.live", '{"replayed":2}', "2-0"),
        ("t", "3", "3-0"), ("sold", "4", "4-0"),
    ]  # fmt: skip
    assert Client(hub).go_on().told[0] == ("stream.state", '{"channel":"a","keys":1}', "state")


def test_keys_and_types_narrow_it() -> None:
    hub = make_hub(event(1, "k"), event(2, "l"), event(3, "k", "u"), event(4, ""))
    assert [data for _, data, _ in Client(hub, key="k").go_on().told[:-1]] == [
        '{"channel":"a","keys":1}', "1", "3",
    ]  # fmt: skip
    assert [data for _, data, _ in Client(hub, type="u").go_on().told[:-1]] == [
        '{"channel":"a","keys":3}', "3",
    ]  # fmt: skip
    assert Client(hub, key=["none"]).go_on().told == [
        ("stream.state", '{"channel":"a","keys":0}', "state"),
        ("stream.live", '{"replayed":0}', "4-0"),
    ]


def test_joiners_share_what_was_rendered_while_few_events_come(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(states, "_FEW", 2)
    hub = make_hub(*(event(ms, f"k{ms}") for ms in range(1, 6)))
    everything = Subscription(("a",))
    first = hub.states.rendering("a", everything)
    assert hub.states.rendering("a", everything) is first
    assert first.page(0) is first.page(0)
    assert first.page(1) is None
    fan_out(hub, "a", event(6), event(7))
    assert hub.states.rendering("a", everything) is first
    assert hub.states.rendering("a", Subscription(("a",), KeysAndTypes.of(["k"]))) is not first
    fan_out(hub, "a", event(8))
    assert hub.states.rendering("a", everything) is not first
    second = Client(hub).go_on()
    assert second.told[-1] == ("stream.live", '{"replayed":6}', "8-0")


def test_a_state_is_held_for_the_next_client_until_an_event_comes() -> None:
    hub = make_hub(event(1), event(2, "l"))

    def made(*keys: str) -> ReferenceType[Rendering]:
        return ref(hub.states.rendering("a", Subscription(("a",), KeysAndTypes.of(keys))))

    assert made("k")() is None, "that of a few keys is soon made again"
    first = made()
    assert first() is not None
    assert made()() is first()
    fan_out(hub, "b", event(3))
    assert first() is not None
    fan_out(hub, "a", event(4))
    assert first() is None
    second = made()
    hub.rewind("a", EventId(2, 0))
    assert second() is None


def test_a_channel_without_a_state_begins_at_its_start() -> None:
    hub = make_hub(event(1))
    fan_out(hub, "b", event(2), event(3))
    told = Client(hub, A, B).go_on().told
    assert [type_ for type_, _, _ in told] == ["stream.state", "t", "stream.live", "stream.live"]
    assert told[2][2] == "a=1-0,b=3-0"
    early = Channel(name="b", path="/b", start="earliest")
    told = Client(hub, A, early).go_on().told
    assert [id_ for _, _, id_ in told[:2]] == ["a=state,b=0-0"] * 2
    assert told[2:] == [
        ("stream.live", '{"replayed":1}', "a=1-0,b=0-0"),
        ("t", "2", "a=1-0,b=2-0"), ("t", "3", "a=1-0,b=3-0"),
        ("stream.live", '{"replayed":2}', "a=1-0,b=3-0"),
    ]  # fmt: skip
    assert Client(hub, B).go_on().told == [("stream.live", '{"replayed":0}', "3-0")]


def test_a_client_waits_for_a_fold_that_is_made_anew() -> None:
    hub, broken = make_hub(event(1), event(2)), list[str]()
    hub.states.broken = broken.append
    hub.rewind("a", EventId(1, 0))
    assert broken == ["a"]
    client = Client(hub).go_on()
    assert client.step == Wait(For.STATE, ("a",))
    assert client.parser.retry_ms == 7, "the first bytes don't wait"
    fan_out(hub, "a", event(3))
    assert client.wakes == 1
    client.go_on()
    made = Fold(RULES)
    made.load(ZERO, EventId(1, 0), [Value(EventId(1, 0), "t", "k", b"1")])
    made.apply([event(3)])
    hub.adopt("a", made)
    assert client.wakes == 2
    assert client.go_on().told == [
        ("stream.state", '{"channel":"a","keys":1,"since":"1-0"}', "state"),
        ("t", "3", "state"),
        ("stream.live", '{"replayed":1}', "3-0"),
    ]
    other = Fold(RULES)
    hub.adopt("a", other)
    assert hub.states.folds["a"] is made, "one that is offered stays"


def test_the_state_begins_anew_if_the_history_changes_while_it_is_sent(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(states, "_PAGE_BYTES", 1)
    hub = make_hub(event(1, "k"), event(2, "l"))
    client = Client(hub)
    for _ in range(2):
        step = hub.advance(client.subscriber)
        assert isinstance(step, Send)
        client.read(b"".join(part.data for part in step.parts))
    hub.restart("a", ZERO, complete=True, parted=ZERO)
    fan_out(hub, "a", event(5, "m"))
    told = client.go_on().told
    assert told[-3:] == [
        ("stream.state", '{"channel":"a","keys":1}', "state"),
        ("t", "5", "state"),
        ("stream.live", '{"replayed":1}', "5-0"),
    ]


def test_a_state_goes_on_if_the_history_of_another_stream_changes(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(states, "_PAGE_BYTES", 1)
    hub = make_hub(event(1, "k"), event(2, "l"))
    client = Client(hub, A, B)
    step = hub.advance(client.subscriber)
    assert isinstance(step, Send)
    client.read(b"".join(part.data for part in step.parts))
    hub.rewind("b", ZERO)
    assert [type_ for type_, _, _ in client.go_on().told[:4]] == [
        "stream.state", "t", "t", "stream.live",
    ]  # fmt: skip


def test_a_reset_is_followed_by_the_state() -> None:
    hub = make_hub(event(2), event(4, "l"), event(6))
    client = Client(hub, last_id="3-0").go_on()
    reset = {
        "channel": "a",
        "reason": "unknown",
        "requested": "3-0",
        "resumed": "6-0",
        "state": True,
    }
    assert client.told == [
        ("stream.reset", orjson.dumps(reset).decode(), "state"),
        ("stream.state", '{"channel":"a","keys":2}', "state"),
        ("t", "6", "state"), ("t", "4", "state"),
        ("stream.live", '{"replayed":2}', "6-0"),
    ]  # fmt: skip
    assert hub.resets["a", "unknown"] == 1
    assert hub.resumes["reset"] == 1
    Client(hub, last_id="5-0").go_on()
    assert hub.resets["a", "unknown"] == 2


def test_a_reset_after_a_cursor_that_cannot_be_read_is_followed_by_the_state() -> None:
    hub = make_hub(event(2))
    fan_out(hub, "b", event(3))
    told = Client(hub, A, B, start="latest", unreadable="x").go_on().told
    assert [(type_, id_) for type_, _, id_ in told] == [
        ("stream.reset", ""),
        *[(of, "a=state,b=3-0") for of in ("stream.reset", "stream.state", "t")],
        ("stream.live", "a=2-0,b=3-0"), ("stream.live", "a=2-0,b=3-0"),
    ]  # fmt: skip
    assert [orjson.loads(data).get("state") for _, data, _ in told[:2]] == [None, True]
    assert [hub.resets[stream, "invalid"] for stream in "ab"] == [1, 1]


def test_no_id_leaves_before_the_last_reset_after_a_cursor_that_cannot_be_read() -> None:
    windows = {name: Window(100, 100_000) for name in ("s.0", "s.1")}
    hub = Hub(windows, 4000, dict.fromkeys(windows, RULES))
    for stream in windows:
        hub.restart(stream, ZERO, complete=True)
    shards = Channel(name="s", path="/s", shards=2, state="last")
    client = Client(hub, shards, start="latest", unreadable="x")
    assert farewell(client.subscriber, None, 5) == b"retry: 5\n"
    assert [(type_, id_) for type_, _, id_ in client.go_on().told] == [
        ("stream.reset", ""),
        *[(of, "s.0=state,s.1=state") for of in ("stream.reset", "stream.state", "stream.state")],
        ("stream.live", "s.0=0-0,s.1=0-0"),
    ]


def test_a_live_client_whose_history_was_dropped_gets_the_state() -> None:
    hub = make_hub(event(1), event(2))
    client = Client(hub).go_on()
    hub.restart("a", ZERO, complete=True, parted=ZERO)
    fan_out(hub, "a", event(3, "m"))
    assert [type_ for type_, _, _ in client.go_on().told[3:]] == [
        "stream.reset", "stream.state", "t", "stream.live",
    ]  # fmt: skip


def test_a_part_of_a_state_comes_in_pages_too(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(states, "_PAGE_BYTES", 1)
    hub = make_hub(event(1, "k"), event(2, "k", "u"), event(3, "l"), event(4, "l", "u"))
    client = Client(hub, type="u")
    first = hub.advance(client.subscriber)
    assert isinstance(first, Send)
    client.read(b"".join(part.data for part in first.parts))
    assert [data for type_, data, _ in client.told if type_ == "u"] == ["2"]
    assert [data for type_, data, _ in client.go_on().told[1:-1]] == ["2", "4"]


def test_a_key_that_is_over_is_sent_its_end_and_then_204() -> None:
    hub = make_hub(event(1), event(2, type_="done"), event(3, "l"), window_events=1)
    client = Client(hub, key="k").go_on()
    assert client.told[1:] == [
        ("t", "1", "state"), ("done", "2", "state"), ("stream.live", '{"replayed":2}', "2-0"),
    ]  # fmt: skip
    assert client.subscriber.state is State.ENDED
    assert client.parser.retry_ms == 4000
    assert hub.windows["a"].get(EventId(2, 0)) is None, "the entry was trimmed"
    for seen in ("2-0", "3-0"):
        assert isinstance(Client(hub, key="k", last_id=seen).verdict, NoContent)
    assert isinstance(Client(hub, key="k", last_id="1-0").verdict, Ask)
    assert isinstance(Client(hub, key="k", last_id="9-0").verdict, Ask)
    fan_out(hub, "a", event(4))
    assert isinstance(Client(hub, key="k", last_id="3-0").verdict, Ask), "it is not over any more"
    hub.rewind("a", EventId(3, 0))
    assert not hub.states.folds["a"].offered
    assert not hub.states.is_over("a", {"k"}, EventId(3, 0))
    assert not hub.states.is_over("b", {"k"}, EventId(3, 0))


def test_a_key_of_which_only_the_end_is_there_is_over_all_the_same() -> None:
    client = Client(make_hub(event(2, type_="done")), key="k").go_on()
    assert client.told[1:] == [
        ("done", "2", "state"), ("stream.live", '{"replayed":1}', "2-0"),
    ]  # fmt: skip
    assert client.subscriber.state is State.ENDED


def test_a_newcomer_is_sent_the_end_of_a_key_that_lies_before_what_is_retained() -> None:
    hub = make_hub(event(1), event(2, type_="done"), event(3, "l"), window_events=1)
    early = replace(A, start="earliest")
    client = Client(hub, early, start="earliest", key="k")
    assert isinstance(client.verdict, Ask)
    assert Client(hub, key="k", start="latest").go_on().told == [
        ("stream.live", '{"replayed":0}', "3-0")
    ]

    def begun(oldest: EventId, key: str) -> Serve:
        wanted = Wanted((early,), Subscription.to((early,), [key]))
        opening = Opening(hub.context, lambda _: None, wanted, 10_000)
        ask = opening.step()
        assert isinstance(ask, Ask)
        opening.answered(ask, oldest)
        served = opening.step()
        assert isinstance(served, Serve)
        return served

    assert begun(EventId(2, 5), "k").states == ["a"]
    assert begun(EventId(2, 0), "k").states == ["a"]
    assert begun(EventId(1, 5), "k").states == [], "it is sent from the log"
    assert begun(EventId(2, 5), "l").states == [], "it is not over"
    reset = Client(hub, early, start="earliest", key="k", unreadable="x")
    assert isinstance(reset.verdict, Serve)
    assert reset.verdict.states == ["a"]


def test_a_newcomer_that_begins_at_a_time_after_the_end_is_sent_it_too() -> None:
    hub = make_hub(event(1), event(2, type_="done"), event(3, "l"), window_events=1)
    wanted = Wanted((A,), Subscription.to((A,), ["k"]), start=1)
    opening = Opening(hub.context, lambda _: None, wanted, 10_000)
    for answer in (None, EventId(2, 5)):  # nothing so old is retained, and this is the oldest
        ask = opening.step()
        assert isinstance(ask, Ask)
        opening.answered(ask, answer)
    found = opening.step(), Client(hub, key="k", start=5).verdict
    assert [isinstance(served, Serve) and served.states for served in found] == [["a"], ["a"]]


def test_a_state_that_is_too_large_is_announced_and_left_out() -> None:
    hub = Hub({"a": Window(10, 1000)}, 4000, {"a": RULES._replace(max_bytes=30)})
    hub.restart("a", ZERO, complete=True)
    fan_out(hub, "a", event(1, "k"), event(2, "l"))
    assert Client(hub).go_on().told == [
        ("stream.state", '{"channel":"a","keys":0,"too_large":true}', "state"),
        ("stream.live", '{"replayed":0}', "2-0"),
    ]


def test_a_run_that_begins_anew_has_no_state() -> None:
    hub = make_hub(event(1))
    wanted = Wanted((A,), Subscription(("a",)), unreadable="x", reason=ResetReason.GONE)
    served = Opening(hub.context, lambda _: None, wanted, 1).step()
    assert isinstance(served, Serve)
    assert not served.states


def test_a_client_whose_cut_has_left_the_window_goes_on_from_the_log() -> None:
    hub = make_hub(event(1), window_events=2)
    client = Client(hub)
    client.step = hub.advance(client.subscriber)
    fan_out(hub, "a", event(2), event(3), event(4))
    assert isinstance(client.step, Send)
    client.read(b"".join(part.data for part in client.step.parts))
    ask = client.go_on().asked
    assert ask.question == PageAfter(EventId(1, 0))
    assert client.subscriber.resume is not None
    assert client.subscriber.resume.proven() == {"a": EventId(1, 0)}, "heartbeats carry it"
    page = Past([event(2)], EventId(2, 0), proven=True)
    assert client.subscriber.resume.answered(ask, page)
    assert [id_ for _, _, id_ in client.go_on().told[-4:]] == ["1-0", "2-0", "3-0", "4-0"]


class NoQuestions:
    """In the place of what asks the log."""

    def ask(self, *_: object) -> Any:
        raise AssertionError("the window has everything")

    rest = ask


def values(reading: Reading) -> list[object]:
    """All that can be taken now."""
    found = list[object]()
    while (value := reading.take()) is not None or reading.advance():
        found += [] if value is None else [value]
    return found


def test_a_reader_of_values_has_no_position_before_its_state_is_complete(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(states, "_PAGE_BYTES", 1)
    hub = make_hub(event(1), event(2, "l"))
    wanted = Wanted((A,), Subscription(("a",)), start="state")
    served = Opening(hub.context, lambda _: None, wanted, 1).step()
    assert isinstance(served, Serve)
    reading = Reading(hub, NoQuestions(), served, lambda: None)
    assert reading.partial
    assert reading.advance()
    assert reading.take() == StateFollows("a", None, 2)
    assert (reading.partial, reading.cursor) == (False, b"state")
    assert reading.take() == Event(EventId(1, 0), "t", "k", b"1", "a")
    assert reading.advance()
    assert reading.take() == Event(EventId(2, 0), "t", "l", b"2", "a")
    assert reading.cursor == b"state", "the second page does not say it again"
    assert values(reading) == [Live(2)]
    assert (reading.partial, reading.cursor) == (False, b"2-0")
    hub.restart("a", ZERO, complete=True, parted=ZERO)
    fan_out(hub, "a", event(1, "m"))
    assert reading.advance()
    while not isinstance(value := reading.take(), Event):
        if value is None:
            assert reading.advance()
        else:
            assert reading.cursor == b"state"
    reading.advance()
    assert values(reading)[-1:] == [Live(1)]
    assert reading.cursor == b"1-0"
    reading.close()
    without = Reading(
        hub, NoQuestions(), served._replace(positions={"a": ZERO}), lambda: None, with_state=False
    )
    assert [type(value) for value in values(without)] == [Event, Live]


def test_a_reader_of_values_is_told_of_an_empty_state_too() -> None:
    hub = make_hub(event(1))
    wanted = Wanted((A,), Subscription.to((A,), ["none"]), start="state")
    served = Opening(hub.context, lambda _: None, wanted, 1).step()
    assert isinstance(served, Serve)
    reading = Reading(hub, NoQuestions(), served, lambda: None)
    assert values(reading) == [StateFollows("a", None, 0), Live(0)]


def test_only_a_whole_state_of_texts_stands_for_the_log() -> None:
    texts = Rules("append", append="text")
    hub = Hub({name: Window(10, 10_000) for name in "abcd"}, 4000, {
        "a": texts, "b": texts._replace(removes=frozenset({"t"})), "c": Rules("last"),
    })  # fmt: skip
    assert not hub.states.has_texts("a")  # it is not loaded yet
    for stream in "abcd":
        hub.restart(stream, ZERO, complete=True)
    assert [stream for stream in "abcd" if hub.states.has_texts(stream)] == ["a"]
    fold = hub.states.folds["a"]
    fold.load(EventId(2, 0), EventId(1, 0), ())
    assert not hub.states.has_texts("a")
    fold.load(EventId(2, 0), None, ())
    assert hub.states.has_texts("a")
    fold.too_large = True
    assert not hub.states.has_texts("a")
