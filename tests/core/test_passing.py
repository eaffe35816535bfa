"""What a client is sent that lags far behind: the newest of everything, and nothing is lost."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from operator import itemgetter
from random import Random
from typing import Any, NamedTuple

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.client.parser import Parser
from broadcaster.core import sse
from broadcaster.core.event import ZERO, Event, EventId, Live, Superseded
from broadcaster.core.filter import ALL, Filter, KeysAndTypes
from broadcaster.core.hub import Hub
from broadcaster.core.log import PageAfter, Past
from broadcaster.core.opening import Serve
from broadcaster.core.reading import Reading
from broadcaster.core.sse import Frame
from broadcaster.core.state import Rules
from broadcaster.core.steps import Ask, Greeting, Send, Wait
from broadcaster.core.subscriber import State, Subscriber
from broadcaster.core.subscription import Subscription
from broadcaster.core.window import Window

RULES = Rules("last", frozenset({"sold"}), terminal=frozenset({"done"}), coalesce=True)
ALWAYS = RULES.removes | RULES.terminal
PAGE_BYTES = 120  # two or three events


class Shop:
    """A hub, and all events that its streams ever had."""

    def __init__(self, *streams: str, window_events: int = 1000) -> None:
        self.windows = {name: Window(window_events, 1 << 20) for name in streams}
        self.hub = Hub(self.windows, rules={name: RULES for name in streams if name != "plain"})
        self.log: dict[str, list[Frame]] = {name: [] for name in streams}
        self.ms = 0

    def add(self, stream: str, key: str = "k", type_: str = "t") -> int:
        self.ms += 1
        data = orjson.dumps([stream, key, type_, self.ms])
        frame = sse.encode(Event(EventId(self.ms, 0), type_, key, data))
        self.log[stream].append(frame)
        for _ in self.hub.fan_out(stream, [frame]):
            pass
        return self.ms

    def rewind(self, stream: str, ms: int) -> None:
        self.log[stream] = [frame for frame in self.log[stream] if frame.id.ms <= ms]
        self.hub.rewind(stream, EventId(ms, 0))

    def past(self, ask: Ask) -> Past:
        assert isinstance(ask.question, PageAfter)
        at = ask.question.position
        frames = [f for f in self.log[ask.stream] if f.id > at][:2]
        return Past(frames, frames[-1].id if frames else at, proven=True)


class Client:
    """A client that keeps everything it was sent, over any number of connections."""

    def __init__(self, shop: Shop, *streams: str, filter: Filter = ALL) -> None:
        self.shop = shop
        self.subscription = Subscription(streams or tuple(shop.windows), filter)
        self.last_id = ""
        self.got: list[tuple[str, str, str, int]] = []
        self.own: list[tuple[str, Any]] = []
        self.asks = self.bytes = 0
        self.connect()

    def connect(self) -> None:
        self.parser = Parser(self.last_id)
        self.subscriber = Subscriber(self.subscription, self.read, lambda: None, pushed=True)
        at = dict.fromkeys(self.subscription.streams, ZERO)
        parts = self.last_id.split(",") if self.last_id else []
        for part in parts:
            name, _, id_ = part.rpartition("=")
            at[name or self.subscription.streams[0]] = EventId.parse(id_)
        self.shop.hub.add(self.subscriber, at, Greeting(1), resumed=bool(parts))

    def read(self, data: bytes) -> None:
        self.bytes += len(data)
        for event in self.parser.feed(data):
            self.last_id = event.id
            if event.type.startswith("stream."):
                self.own.append((event.type, orjson.loads(event.data)))
            else:
                self.got.append(tuple(orjson.loads(event.data)))

    def step(self, share: float = 1.0) -> bool:
        """Take a step, and get a share of its bytes. Return False if there is none to take."""
        while self.subscriber.state is State.LAGGING:
            step = self.shop.hub.advance(self.subscriber, PAGE_BYTES)
            if isinstance(step, Send):
                data = b"".join(part.data for part in step.parts)
                self.read(data[: int(len(data) * share)])
                return True
            if isinstance(step, Wait):
                return False
            self.asks += 1
            assert self.subscriber.resume is not None
            assert self.subscriber.resume.answered(step, self.shop.past(step))
        return False

    def go_on(self) -> Client:
        while self.step():
            pass
        assert self.subscriber.state is State.LIVE
        return self

    def cut(self, share: float = 1.0) -> None:
        """Lose the connection while a step's bytes are on their way, and come back."""
        self.step(share)
        self.shop.hub.remove(self.subscriber)
        self.connect()

    def wants(self, frame: Frame) -> bool:
        return self.subscription.filter.admits(frame)

    @property
    def ids(self) -> list[int]:
        return [ms for *_, ms in self.got]

    @property
    def superseded(self) -> int:
        return sum(data["events"] for type_, data in self.own if type_ == "stream.superseded")


def test_what_fits_in_a_page_is_sent_as_it_is() -> None:
    shop = Shop("a")
    assert [shop.add("a") for _ in range(2)] == Client(shop).go_on().ids
    client = Client(shop).go_on()
    shop.hub.lag(client.subscriber)
    shop.add("a")
    assert client.go_on().ids == [1, 2, 3]
    shop.add("a")
    assert client.ids == [1, 2, 3, 4]
    assert client.superseded == 0


def test_a_client_far_behind_is_sent_the_newest_of_each_key_and_type() -> None:
    shop = Shop("a")
    for n in range(20):
        shop.add("a", "kl"[n % 2], "tu"[n % 3 % 2])
    client = Client(shop).go_on()
    assert client.ids == [15, 17, 18, 19, 20][1:]
    assert client.own == [
        ("stream.at", {}),
        ("stream.superseded", {"channel": "a", "events": 16}),
        ("stream.live", {"replayed": 4}),
    ]
    assert shop.hub.states.passes.superseded == {"a": 16}
    assert shop.hub.deliveries == 4


def test_a_pass_is_fixed_so_that_a_busy_key_does_not_starve() -> None:
    """At each page a key has changed again: chosen anew, its newest event would never be sent."""
    shop = Shop("a", window_events=8)  # the pass takes longer than the window reaches back
    for n in range(30):
        shop.add("a", f"k{n}")
    client, seen, newest = Client(shop), 0, shop.add("a", "busy")
    for _ in range(200):
        shop.add("a", "busy")
        for n in range(3):
            shop.add("a", f"k{(shop.ms + n) % 30}")
        client.step()
        seen = max([ms for _, key, _, ms in client.got if key == "busy"], default=0)
    assert seen > newest
    of_busy = [ms for _, key, _, ms in client.got if key == "busy"]
    assert len(of_busy) > 5
    assert client.ids == sorted(set(client.ids))
    assert client.go_on().superseded + len(client.got) == shop.ms


def test_a_slow_client_needs_neither_its_window_nor_the_log() -> None:
    shop = Shop("a", window_events=6)
    client = Client(shop).go_on()
    shop.hub.lag(client.subscriber)
    for n in range(6):
        shop.add("a", f"k{n}")
    while client.step():
        for n in range(2 if shop.ms < 200 else 0):
            shop.add("a", f"k{n + shop.ms % 5}")
    assert client.subscriber.state is State.LIVE
    assert client.asks == 0
    assert client.superseded + len(client.got) == shop.ms


def test_a_client_so_slow_that_its_next_pass_is_lost_asks_the_log() -> None:
    shop = Shop("a", window_events=6)
    client = Client(shop).go_on()
    shop.hub.lag(client.subscriber)
    for n in range(6):
        shop.add("a", f"k{n}")
    client.step()
    for _ in range(20):
        shop.add("a")
    client.go_on()
    assert client.asks > 0
    assert client.ids == sorted(set(client.ids))
    assert client.superseded + len(client.got) == shop.ms


def test_a_change_of_the_history_ends_a_pass() -> None:
    shop = Shop("a")
    for n in range(12):
        shop.add("a", f"k{n % 6}")
    client = Client(shop)
    client.step()
    assert client.ids == [7, 8, 9]
    shop.rewind("a", 10)
    shop.ms = 20
    shop.add("a", "k4")
    client.go_on()
    assert client.ids == [7, 8, 9, 10, 21]


def test_streams_with_and_without_passes_are_merged() -> None:
    shop = Shop("a", "b", "plain")
    for _ in range(8):
        for stream in ("a", "b", "plain"):
            shop.add(stream)
    client = Client(shop).go_on()
    assert [ms for stream, *_, ms in client.got if stream == "plain"] == list(range(3, 25, 3))
    assert [ms for stream, *_, ms in client.got if stream != "plain"] == [22, 23]
    told = [data for type_, data in client.own if type_ == "stream.superseded"]
    assert told == [{"channel": "a", "events": 7}, {"channel": "b", "events": 7}]


def test_filters_narrow_a_pass() -> None:
    shop = Shop("a")
    for n in range(24):
        shop.add("a", "kl"[n % 2], "tu"[n // 2 % 2])
    one = Client(shop, filter=KeysAndTypes.of({"k"}, {"t"})).go_on()
    assert (one.ids, one.superseded) == ([21], 5)


def test_those_that_want_every_event_get_no_pass() -> None:
    """A page of the log is one, for instance."""
    shop = Shop("a", window_events=5000)
    shop.add("a")
    for _ in range(3000):
        shop.add("a")
    found = list[object]()
    for with_state in (False, True):
        serve = Serve(Subscription(("a",)), {"a": ZERO})
        reading = Reading(shop.hub, NoLog(), serve, lambda: None, with_state=with_state)
        while reading.advance():
            found += iter(reading.take, None)
        reading.close()
    assert len(found) == 3001 + 1 + 3
    told = [value for value in found if not isinstance(value, Event)]
    assert told == [Live(3001), Superseded("a", None, 3000), Live(1)]


class NoLog:
    """Is not asked."""

    def ask(self, *_: object) -> Any:
        raise AssertionError

    def rest(self, *_: object) -> Any:
        raise AssertionError


class Add(NamedTuple):
    stream: str
    key: str
    type: str


class Go(NamedTuple):
    share: float
    cut: bool
    lag: bool


ADD = st.builds(
    Add, st.sampled_from("ab"), st.sampled_from("kkklm"), st.sampled_from(["t", "t", "u", "sold"])
)
GO = st.builds(Go, st.sampled_from([1.0, 1.0, 0.6, 0.0]), st.booleans(), st.booleans())


def check(shop: Shop, client: Client, *, all_told: bool) -> None:
    """The newest of everything came, in order, once, and all that must not be skipped."""
    assert not [told for told in client.own if told[0] == "stream.reset"]
    count = 0
    for stream in client.subscription.streams:
        log = [(f.id.ms, f.key, f.type) for f in shop.log[stream] if client.wants(f)]
        got = [(ms, key, type_) for of, key, type_, ms in client.got if of == stream]
        assert got == sorted(set(got))
        assert set(got) <= set(log)
        newest = {(key, type_): ms for ms, key, type_ in log}
        assert {(key, type_): ms for ms, key, type_ in got} == newest
        assert [one for one in log if one[2] in ALWAYS] == [o for o in got if o[2] in ALWAYS]
        count += len(log)
    told = len(client.got) + client.superseded
    assert told == count if all_told else told >= count


@pytest.mark.parametrize("streams", [("a",), ("a", "b")])
@given(
    ops=st.lists(ADD | ADD | GO, max_size=60),
    window_events=st.sampled_from([2, 5, 1000]),
    keys=st.sampled_from([(), ("k", "m")]),
)
def test_whatever_happens_nothing_is_lost(
    streams: tuple[str, ...], ops: Sequence[Add | Go], window_events: int, keys: tuple[str, ...]
) -> None:
    shop = Shop("a", "b", window_events=window_events)
    filter = KeysAndTypes.of(keys) if keys else ALL
    whole, torn = (Client(shop, *streams, filter=filter) for _ in range(2))
    for op in ops:
        if isinstance(op, Add):
            shop.add(*op)
            continue
        for client in (whole, torn):
            if op.lag:
                shop.hub.lag(client.subscriber)
            client.step()
        if op.cut:
            torn.cut(op.share)
    check(shop, whole.go_on(), all_told=True)
    check(shop, torn.go_on(), all_told=False)


class Simulation:
    """A client of 10 KB/s on 2,000 events/s over 5,000 keys, one of which has a fifth of them.

    Attributes:
        stalest_s: the longest time for which the client had an old value of a key.
        pass_s: the longest time from one pass to the next.
    """

    def __init__(self, scale: float, *, window_events: int) -> None:
        """Prepare it; all of the sizes, but not the times, are multiplied by a scale."""
        self.keys, self.rate, self.bytes_s = int(5000 * scale), 2000 * scale, 10_000 * scale
        self.page_bytes = int(65_536 * scale)
        self.shop = Shop("a", window_events=int(window_events * scale))
        self.client = Client(self.shop).go_on()
        self.now_s = self.stalest_s = self.pass_s = self.begun_s = 0.0
        self.events: dict[str, list[tuple[int, float]]] = {}  # of each key: ids and times
        self.have: dict[str, int] = {}
        self.sent = self.noted = 0

    def run(self, seconds: float) -> None:
        random, unsent, step_s = Random(7), 0.0, 0.1
        while self.now_s < seconds:
            self.now_s += step_s
            for _ in range(int(self.rate * step_s)):
                number = 0 if random.random() < 0.2 else random.randrange(self.keys)
                key = f"k{number:060}"  # an event has about 110 bytes
                self.events.setdefault(key, []).append((self.shop.add("a", key), self.now_s))
            unsent = max(0.0, unsent + self.taken() - self.bytes_s * step_s)
            self.note_all(unsent)
            if unsent > self.page_bytes:
                self.shop.hub.lag(self.client.subscriber)
            while unsent <= self.page_bytes / 4 and self.advance():
                unsent += self.taken()
                self.note_all(unsent)
        for key in self.events:
            self.note(key, self.now_s)

    def taken(self) -> int:
        """Return the bytes that were sent since the last call."""
        size, self.sent = self.client.bytes - self.sent, self.client.bytes
        return size

    def advance(self) -> bool:
        """Send a page, if the client lags."""
        subscriber, announced = self.client.subscriber, len(self.client.own)
        if subscriber.state is not State.LAGGING:
            return False
        step = self.shop.hub.advance(subscriber, self.page_bytes)
        assert isinstance(step, Send)
        self.client.read(b"".join(part.data for part in step.parts))
        if len(self.client.own) > announced:
            self.pass_s = max(self.pass_s, self.now_s - self.begun_s)
            self.begun_s = self.now_s
        return True

    def note_all(self, unsent: float) -> None:
        """Note what the client was sent: it has it once the bytes before it are sent."""
        for _, key, _, ms in self.client.got[self.noted :]:
            self.note(key, self.now_s + unsent / self.bytes_s)
            self.have[key] = ms
        self.noted = len(self.client.got)

    def note(self, key: str, now_s: float) -> None:
        """Note for how long the client's value of a key is not the newest one."""
        of_key = self.events[key]
        first = bisect_right(of_key, self.have.get(key, 0), key=itemgetter(0))
        if first < len(of_key):
            self.stalest_s = max(self.stalest_s, now_s - of_key[first][1])


@pytest.mark.parametrize("window_events", [100_000, 20_000])
def test_no_value_of_a_slow_client_is_older_than_two_passes(window_events: int) -> None:
    """At 110 bytes for each event, a pass takes longer than the window reaches back."""
    simulation = Simulation(0.02, window_events=window_events)
    simulation.run(250)
    buffer_s = 1.25 * simulation.page_bytes / simulation.bytes_s
    assert 30 < simulation.pass_s < 90
    assert simulation.stalest_s <= 2 * simulation.pass_s + buffer_s
    assert simulation.client.asks == 0
