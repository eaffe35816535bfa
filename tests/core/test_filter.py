"""Filters, and one of another kind as an example."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from broadcaster.core import sse
from broadcaster.core.channel import Channel
from broadcaster.core.event import ZERO, Event, EventId
from broadcaster.core.fanout.heartbeat import BEATS
from broadcaster.core.fanout.hub import Hub
from broadcaster.core.fanout.subscriber import State, Subscriber
from broadcaster.core.filter import ALL, Filter, KeysAndTypes
from broadcaster.core.history.window import Window
from broadcaster.core.resume.steps import Greeting, Hello, Send
from broadcaster.core.sse import Frame
from broadcaster.core.subscription import Subscription
from broadcaster.errors import InvalidRequestError


@dataclass(frozen=True)
class Cheaper(Filter):
    """Events whose data is a JSON object with a price below a limit."""

    below: int

    def admits(self, frame: Frame) -> bool:
        return bool(json.loads(frame.data)["price"] < self.below)


@dataclass(frozen=True)
class CheaperPet(Cheaper):
    """The same for one key."""

    pet: str

    @property
    def keys(self) -> frozenset[str]:
        return frozenset([self.pet])


def offer(ms: int, key: str, price: int) -> Frame:
    return sse.encode(Event(EventId(ms, 0), "offer", key, b'{"price": %d}' % price))


def connect(hub: Hub, filter_: Filter) -> list[bytes]:
    """Let a subscriber catch up. Return the list of its bytes, which later writes extend."""
    sent: list[bytes] = []
    subscriber = Subscriber(
        Subscription(("a",), filter_),
        write=sent.append,
        wake=lambda: None,
        pushed=True,
    )
    hub.add(subscriber, {"a": ZERO}, Greeting(1))
    while subscriber.state is State.LAGGING:
        step = hub.advance(subscriber)
        assert isinstance(step, Send)
        sent += [part.data for part in step.parts if not isinstance(part, Hello)]
    return sent


@pytest.mark.parametrize("filter_", [Cheaper(10), CheaperPet(10, "cat")])
def test_a_filter_of_another_kind_decides_about_past_and_live_events(filter_: Filter) -> None:
    hub = Hub({"a": Window(100, 100_000)})
    events = [offer(1, "cat", 5), offer(2, "cat", 20), offer(3, "cat", 30), offer(4, "cat", 6)]
    list(hub.fan_out("a", events[:2]))
    sent = connect(hub, filter_)
    list(hub.fan_out("a", events[2:]))
    assert b"".join(sent) == events[0].wire + sse.live(b"2-0", 1) + events[3].wire


def test_a_filter_for_another_key_keeps_its_types() -> None:
    filter_ = KeysAndTypes.of(["cat"], ["offer"])
    assert filter_.with_key("dog") == KeysAndTypes.of(["dog"], ["offer"])


def test_a_filter_with_keys_is_not_asked_about_events_of_others() -> None:
    hub = Hub({"a": Window(100, 100_000)})
    no_json = sse.encode(Event(EventId(1, 0), "note", "dog", b"good"))
    list(hub.fan_out("a", [no_json, offer(2, "cat", 5)]))
    sent = connect(hub, CheaperPet(10, "cat"))
    list(hub.fan_out("a", [sse.encode(Event(EventId(3, 0), "note", "dog", b"better"))]))
    assert b"".join(sent) == offer(2, "cat", 5).wire + sse.live(b"2-0", 1)


def test_equal_filters_are_asked_once_for_all_their_subscribers() -> None:
    asked: list[EventId] = []

    class Counting(Cheaper):
        def admits(self, frame: Frame) -> bool:
            asked.append(frame.id)
            return super().admits(frame)

    hub = Hub({"a": Window(100, 100_000)})
    clients = [connect(hub, Counting(10)) for _ in range(3)]
    list(hub.fan_out("a", [offer(1, "cat", 5)]))
    assert asked == [EventId(1, 0)]
    assert all(sent[-1] == offer(1, "cat", 5).wire for sent in clients)


def test_a_filter_that_raises_an_error_harms_its_own_subscribers_alone() -> None:
    hub = Hub({"a": Window(100, 100_000)})
    other, *broken = (connect(hub, filter_) for filter_ in (ALL, Cheaper(10), Cheaper(20)))
    no_json = sse.encode(Event(EventId(1, 0), "note", "dog", b"good"))
    list(hub.fan_out("a", [no_json]))
    assert (other[-1], hub.live) == (no_json.wire, 1)
    behind = [s for s in hub.subscribers if s.state is State.LAGGING]
    assert len(behind) == len(broken)
    for subscriber in behind:
        with pytest.raises(json.JSONDecodeError):  # in a step of its own
            hub.advance(subscriber)
    assert all(no_json.wire not in sent for sent in broken)


def test_a_heartbeat_says_where_a_filter_of_another_kind_has_come_to() -> None:
    hub = Hub({"a": Window(100, 100_000)})
    sent = connect(hub, Cheaper(10))
    list(hub.fan_out("a", [offer(7, "cat", 20)]))
    for _ in range(BEATS + 1):
        list(hub.beat())
    assert sent[-1] == sse.at(b"7-0")


def test_no_keys_and_no_types_are_one_filter_for_all() -> None:
    assert KeysAndTypes.of() is ALL
    assert ALL.everything
    assert ALL.exact
    keyed, typed = KeysAndTypes.of(["k"]), KeysAndTypes.of(types=["t"])
    assert (keyed.everything, keyed.exact, typed.everything, typed.exact) == (
        False,
        True,
        False,
        False,
    )


CHANNEL = Channel(name="a", path="/a/{key}", key_required=False, terminal=frozenset({"sold"}))


def test_a_filter_of_another_kind_selects_within_keys_and_types() -> None:
    subscription = Subscription.to([CHANNEL], ["cat"], ["offer"], Cheaper(10))
    assert subscription.keys == {"cat"}
    assert subscription.accepts("a", offer(1, "cat", 5))
    assert not subscription.accepts("a", offer(1, "cat", 50))
    assert not subscription.accepts("a", offer(1, "dog", 5))
    note = sse.encode(Event(EventId(1, 0), "note", "cat", b'{"price": 5}'))
    assert not subscription.accepts("a", note)


def test_a_filter_is_not_asked_about_terminal_events() -> None:
    subscription = Subscription.to([CHANNEL], ["cat"], filter=Cheaper(10))
    sold = sse.encode(Event(EventId(2, 0), "sold", "cat", b"no JSON"))
    assert subscription.accepts("a", sold)
    assert subscription.ends_with(sold)


def test_the_keys_of_a_filter_narrow_those_that_are_asked_for() -> None:
    for keys in ([], ["cat"], ["cat", "dog"]):
        assert Subscription.to([CHANNEL], keys, filter=CheaperPet(10, "cat")).keys == {"cat"}
    with pytest.raises(InvalidRequestError, match=r"^the filter admits none of the keys$"):
        Subscription.to([CHANNEL], ["dog"], filter=CheaperPet(10, "cat"))


def test_a_filter_follows_its_subscription_to_a_run() -> None:
    run = EventId(7, 0)
    narrowed = Subscription.to([CHANNEL], ["cat"], filter=Cheaper(10)).narrowed_to("cat#7-0", run)
    assert narrowed.keys == {"cat#7-0"}
    assert narrowed.accepts("a", offer(8, "cat#7-0", 5))
    assert not narrowed.accepts("a", offer(8, "cat#7-0", 50))
    assert Cheaper(10).with_key("cat").keys == {"cat"}
