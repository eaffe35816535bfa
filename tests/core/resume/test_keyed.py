"""The state of a key where that of the stream is too large: checkpoint, log and window as one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.core import sse
from broadcaster.core.channel import Channel
from broadcaster.core.event import ZERO, Event, EventId
from broadcaster.core.fanout.hub import Hub
from broadcaster.core.fanout.subscriber import State
from broadcaster.core.history.window import Window
from broadcaster.core.log import AnyAnswer, KeyState, PageAfter, Past, StateOf
from broadcaster.core.resume.steps import Ask, For, Wait
from broadcaster.core.sse import Frame
from broadcaster.core.state.fold import Fold
from broadcaster.core.state.values import Rules, Value
from tests.core.resume.test_joining import Client, event, fan_out
from tests.test_state_interleavings import Client as Memory
from tests.test_state_interleavings import shown

TOO_LARGE = Rules("last", frozenset({"sold"}), terminal=frozenset({"done"}), max_bytes=4_000)
BIG = sse.encode(Event(EventId(1, 0), "t", "big", b"x" * 5_000))


def make_hub(*frames: Frame, window_events: int = 100, rules: Rules = TOO_LARGE) -> Hub:
    hub = Hub({"a": Window(window_events, 1 << 30)}, 4000, {"a": rules})
    hub.restart("a", ZERO, complete=True)
    fan_out(hub, "a", BIG, *frames)
    assert hub.states.folds["a"].too_large
    return hub


def at(ms: int) -> EventId:
    return EventId(ms, 0)


def state(position: int, *values: Value, start: int | None = -1, newest: int = 0) -> KeyState:
    """What the log says of a key."""
    begun = position if start == -1 else start
    return KeyState(at(position), None if begun is None else at(begun), at(newest), None, values)


def value(ms: int, key: str = "k", data: bytes = b"v") -> Value:
    return Value(at(ms), "t", key, data)


def answered(client: Client, answer: AnyAnswer) -> Client:
    ask = client.asked
    assert ask.asker is not None
    assert ask.asker.answered(ask, answer)
    return client.go_on()


def begun(hub: Hub) -> Client:
    """A client that has asked for a key."""
    client = Client(hub, key="k").go_on()
    assert client.asked.question == StateOf(frozenset("k"))
    assert client.parser.retry_ms == 7, "the first bytes don't wait"
    return client


WHOLE = ("stream.state", '{"channel":"a","keys":1}', "state")
NOTHING = ("stream.state", '{"channel":"a","keys":0,"too_large":true}', "state")


def test_the_checkpoint_and_the_window_are_the_state_of_a_key() -> None:
    hub = make_hub(event(2, "k"), event(3, "k", "u"), event(4, "l"))
    client = answered(begun(hub), state(2, value(2)))
    assert client.told == [
        WHOLE, ("t", "v", "state"), ("u", "3", "state"),
        ("stream.live", '{"replayed":2}', "4-0"),
    ]  # fmt: skip
    fan_out(hub, "a", event(5, "k"), event(6, "l"))
    assert client.told[4:] == [("t", "5", "5-0")]
    whole = Client(hub).go_on()
    assert whole.told[0] == NOTHING


def test_all_that_the_window_has_of_a_busy_key_is_folded() -> None:
    hub = make_hub(*(event(ms, "k") for ms in range(2, 1203)), window_events=2_000)
    client = answered(begun(hub), state(2, value(2)))
    assert client.told[1:-1] == [("t", "1202", "state")], "which is more than a page"


def test_a_key_is_asked_for_only_where_the_state_is_too_large() -> None:
    rules = {"a": TOO_LARGE._replace(max_bytes=1 << 30), "b": TOO_LARGE}
    hub = Hub({stream: Window(100, 1 << 30) for stream in rules}, 4000, rules)
    for stream in rules:
        hub.restart(stream, ZERO, complete=True)
        fan_out(hub, stream, BIG, event(2, "k"))
    both = [Channel(name=name, path=f"/{name}", state="last") for name in rules]
    client = Client(hub, *both, key="k").go_on()
    assert client.asked.stream == "b"
    answered(client, state(2, value(2)))
    assert [(type_, data) for type_, data, _ in client.told] == [
        ("stream.state", '{"channel":"a","keys":1}'), ("t", "2"),
        ("stream.state", '{"channel":"b","keys":1}'), ("t", "v"),
        ("stream.live", '{"replayed":2}'),
    ]  # fmt: skip


def test_what_lies_between_the_checkpoint_and_the_window_is_read_from_the_log() -> None:
    hub = make_hub(*(event(ms, "k") for ms in range(2, 9)), window_events=2)
    client = answered(begun(hub), state(2, value(2)))
    for position, answer in (
        (2, Past([event(3, "k", "u"), event(4, "l")], at(4), proven=True)),
        (4, Past([event(ms, "k") for ms in (5, 6)], at(6), proven=True)),
    ):
        assert client.asked.question == PageAfter(at(position))
        answered(client, answer)
    assert [(type_, data) for type_, data, _ in client.told[1:-1]] == [("u", "3"), ("t", "8")]


def test_an_event_that_is_a_part_of_a_value_is_not_folded_again() -> None:
    rules = TOO_LARGE._replace(kind="append", append="text")
    hub = make_hub(event(2, "k"), event(3, "k"), event(4, "k"), rules=rules)
    client = answered(begun(hub), state(2, value(3), newest=3))
    assert [data for _, data, _ in client.told[1:-1]] == ["v", "4"]


def test_a_checkpoint_that_is_ahead_of_the_tailer_is_waited_for() -> None:
    for answer in (state(3, value(3)), state(1, value(3), newest=3)):
        hub = make_hub(event(2, "k"))
        client = answered(begun(hub), answer)
        assert client.step == Wait(For.STATE, ("a",))
        fan_out(hub, "a", event(3, "k"))
        assert client.wakes == 1
        assert client.go_on().told[:2] == [WHOLE, ("t", "v", "state")]


@pytest.mark.parametrize(
    ("answer", "more"),
    [
        (None, []),
        (state(2, value(2), start=None), []),
        (state(2, value(2), start=4), [None]),  # an id that the window does not have
        (state(2, value(2)), [Past([], at(2), proven=True)]),
        (state(2, value(2)), [Past([event(5, "k")], at(5), proven=False)]),
    ],
)
def test_without_a_whole_log_after_it_there_is_no_state(answer: AnyAnswer, more: list[Any]) -> None:
    """If the log was trimmed meanwhile, a newer checkpoint may have what is missing."""
    hub = make_hub(event(2, "k"), event(3, "k"), event(5, "k"), event(6, "k"), window_events=2)
    if more == [None]:
        hub = make_hub(event(3, "k"), event(5, "k"))
        more = []
    once, twice = begun(hub), begun(hub)
    for client in (once, twice, twice) if answer is not None else (twice,):
        assert client.asked.question == StateOf(frozenset("k"))
        answered(client, answer)
        for page in more:
            answered(client, page)
    assert twice.told[0] == NOTHING
    assert twice.subscriber.state is State.LIVE
    if answer is not None:
        head = hub.windows["a"].head.ms
        assert answered(once, state(head, value(head))).told[:2] == [WHOLE, ("t", "v", "state")]


def test_the_log_after_a_trimmed_entry_may_begin_with_the_window() -> None:
    rules = TOO_LARGE._replace(kind="append", append="text")
    events = (event(ms, "k") for ms in (2, 5, 6, 7))
    hub = make_hub(*events, window_events=2, rules=rules)  # its floor is 5
    client = answered(begun(hub), state(2, value(2), start=6))
    assert [data for _, data, _ in client.told[1:-1]] == ["v", "6", "7"]


def test_the_state_of_a_key_says_since_when_it_has_events() -> None:
    hub = make_hub(event(2, "k"))
    client = answered(begun(hub), state(2, value(2))._replace(since=at(1)))
    assert client.told[0] == (
        "stream.state", '{"channel":"a","keys":1,"since":"1-0"}', "state",
    )  # fmt: skip


def test_a_question_without_an_answer_is_asked_again_and_a_late_answer_is_ignored() -> None:
    hub = make_hub(event(2, "k"))
    client = begun(hub)
    first = client.asked
    assert first.asker is not None
    assert client.go_on().step == Wait(For.STATE)
    first.asker.failed(first)
    second = client.go_on().asked
    assert second.question == first.question
    first.asker.answered(first, None)
    first.asker.failed(first)
    assert client.go_on().step == Wait(For.STATE)
    assert answered(_with(client, second), state(2, value(2))).told[1][1] == "v"


def _with(client: Client, ask: Ask) -> Client:
    client.step = ask
    return client


def test_it_begins_anew_when_the_history_changes() -> None:
    hub = make_hub(event(2, "k"), event(3, "k"))
    client = begun(hub)
    before = client.asked
    hub.rewind("a", at(2))
    made = Fold(TOO_LARGE)
    made.apply([BIG, event(2, "k")])
    hub.adopt("a", made)
    assert before.asker is not None
    before.asker.answered(before, state(3, value(3)))
    assert client.go_on().asked.question == before.question
    assert answered(client, state(2, value(2, data=b"new"))).told[1][1] == "new"


def test_several_keys_are_asked_for_at_once_and_streams_one_after_the_other() -> None:
    windows = {name: Window(100, 100_000) for name in ("s.0", "s.1")}
    hub = Hub(windows, 4000, dict.fromkeys(windows, TOO_LARGE))
    shards = Channel(name="s", path="/s", shards=2, state="last")
    for stream in windows:
        hub.restart(stream, ZERO, complete=True)
        fan_out(hub, stream, BIG)
    keys = ["a", "b", "c", "d", "e"]
    client = Client(hub, shards, key=keys).go_on()
    first = client.asked
    second = client.go_on().asked
    assert [first.stream, second.stream] == ["s.0", "s.1"]
    assert isinstance(first.question, StateOf)
    assert isinstance(second.question, StateOf)
    assert first.question.keys | second.question.keys == set(keys)
    assert client.go_on().step == Wait(For.STATE)
    answered(_with(client, first), state(1))
    assert client.step == Wait(For.STATE)
    answered(_with(client, second), state(1))
    assert [type_ for type_, *_ in client.told] == ["stream.state", "stream.state", "stream.live"]


KINDS = ("last", "merge", "append")


@given(st.data())
def test_state_and_events_are_the_fold_of_the_log(data: st.DataObject) -> None:
    """For any position of the checkpoint, and whatever comes meanwhile."""
    rules = Rules(
        data.draw(st.sampled_from(KINDS)),
        frozenset({"sold"}),
        "text",
        ttl_ms=1 << 40,
        max_bytes=4_000,
    )
    history = [BIG]

    left = data.draw(
        st.lists(st.tuples(st.sampled_from("kl"), st.sampled_from("tus")), max_size=20)
    )

    def publish(most: int = 2) -> None:
        for _ in range(min(len(left), data.draw(st.integers(0, most)))):
            number, (key, type_) = len(history) + 1, left.pop()
            text = f'{{"key":"{key}","text":"{number}","n{number % 3}":{number}}}'
            made = event(number, key, "sold" if type_ == "s" else type_)
            frame = sse.encode(Event(made.id, made.type, key, text.encode()))
            history.append(frame)
            fan_out(hub, "a", frame)

    hub = make_hub(window_events=data.draw(st.integers(1, 4)), rules=rules)
    publish(10)
    client, memory = Client(hub, key="k"), Memory()
    client.subscriber.write = memory.read

    def answer(question: object) -> AnyAnswer:
        if isinstance(question, StateOf):
            place = data.draw(st.integers(1, len(history)))
            value_at = data.draw(st.integers(place, len(history)))
            fold = Fold(rules._replace(max_bytes=0))
            fold.apply(history[:value_at])
            values = fold.of_key("k")
            newest = max([ZERO, *(each.id for each in values)])
            return KeyState(at(place), at(place), newest, None, values)
        assert isinstance(question, PageAfter)
        found = [f for f in history if f.id > question.position][:2]
        return Past(found, found[-1].id, proven=True)

    for _ in range(100):
        if client.subscriber.state is State.LIVE:
            break
        step = hub.advance(client.subscriber, 60)
        if isinstance(step, Ask):
            publish()
            asker = step.asker or client.subscriber.resume
            assert asker is not None
            asker.answered(step, answer(step.question))
            publish()
        elif not isinstance(step, Wait):
            memory.read(b"".join(part.data for part in step.parts))
    assert client.subscriber.state is State.LIVE
    publish()
    expected = Fold(rules._replace(max_bytes=0))
    expected.apply([f for f in history if f.key == "k"])
    assert shown(rules, memory.have) == shown(rules, dict(expected.cut().values))
