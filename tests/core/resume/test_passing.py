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
from broadcaster.core.fanout.hub import Hub
from broadcaster.core.fanout.subscriber import State, Subscriber
from broadcaster.core.filter import ALL, Filter, KeysAndTypes
from broadcaster.core.history.window import Window
from broadcaster.core.log import PageAfter, Past
from broadcaster.core.reading.reading import Reading
from broadcaster.core.resume import passing
from broadcaster.core.resume.opening import Serve
from broadcaster.core.resume.page import Page
from broadcaster.core.resume.steps import Ask, Greeting, Send, Wait
from broadcaster.core.sse import Frame
from broadcaster.core.state import passes, states
from broadcaster.core.state.values import Rules
from broadcaster.core.subscription import Subscription

RULES = Rules("last", frozenset({"sold"}), terminal=frozenset({"done"}), coalesce=True)
ALWAYS = RULES.removes | RULES.terminal
PAGE_BYTES = 120  # two or three events


class Shop:
    """A hub, and all events that its streams ever had."""

    def __init__(
        self, *streams: str, window_events: int = 1000, rules: Rules = RULES, state: bool = False
    ) -> None:
        self.windows = {name: Window(window_events, 1 << 20) for name in streams}
        every = rules._replace(coalesce=False)
        of = {name: every if name == "every" else rules for name in streams if name != "plain"}
        self.hub = Hub(self.windows, rules=of)
        for stream in streams if state else ():
            self.hub.restart(stream, ZERO, complete=True)  # of nothing, the state is known
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

    def __init__(
        self,
        shop: Shop,
        *streams: str,
        filter: Filter = ALL,
        last_id: str = "",
        state: bool = False,
    ) -> None:
        self.shop = shop
        self.subscription = Subscription(streams or tuple(shop.windows), filter)
        self.last_id, self.state = last_id, state
        self.got: list[tuple[str, str, str, int]] = []
        self.own: list[tuple[str, Any]] = []
        self.has: dict[tuple[str, str, str], int] = {}
        self.asks = self.bytes = 0
        self.connect()

    def connect(self) -> None:
        self.parser = Parser(self.last_id)
        self.subscriber = Subscriber(self.subscription, self.read, lambda: None, pushed=True)
        at = dict.fromkeys(self.subscription.streams, ZERO)
        parts = self.last_id.split(",") if self.last_id else []
        first = list(self.subscription.streams) if self.state and not parts else []
        for part in parts or first:
            name, _, id_ = part.rpartition("=")
            stream = name or self.subscription.streams[0]
            if id_ == "state":
                first.append(stream)
            at[stream] = self.shop.windows[stream].head if stream in first else EventId.parse(id_)
        begun = self.subscriber, at, Greeting(1)
        self.shop.hub.add(*begun, resumed=bool(parts), states=first)

    def read(self, data: bytes) -> None:
        self.bytes += len(data)
        for event in self.parser.feed(data):
            self.last_id = event.id
            if event.type.startswith("stream."):
                self.own.append((event.type, orjson.loads(event.data)))
                if event.type == "stream.state":
                    of = self.own[-1][1]["channel"]
                    self.has = {k: v for k, v in self.has.items() if k[0] != of}
            else:
                self.got.append(tuple(orjson.loads(event.data)))
                self.take(*self.got[-1])

    def take(self, stream: str, key: str, type_: str, ms: int) -> None:
        """Keep the newest value of each type, and nothing of a key that was removed."""
        if type_ in RULES.removes:
            self.has = {k: v for k, v in self.has.items() if k[:2] != (stream, key)}
        else:
            self.has[stream, key, type_] = ms

    def step(self, share: float = 1.0, page_bytes: int = PAGE_BYTES) -> bool:
        """Take a step, and get a share of its bytes. Return False if there is none to take."""
        while self.subscriber.state is State.LAGGING:
            step = self.shop.hub.advance(self.subscriber, page_bytes)
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
        for n in range(4 if shop.ms < 200 else 0):
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


@pytest.mark.parametrize("filter", [KeysAndTypes.of((), {"u"}), KeysAndTypes.of({"l"})])
def test_a_client_that_is_not_behind_in_what_it_wants_is_sent_all_of_that(filter: Filter) -> None:
    """Many other events follow: more than a page, and more than are looked through at once."""
    shop = Shop("a", window_events=9000)
    wanted = []
    for n in range(5000):
        shop.add("a")
        if n in (10, 2200, 4400):
            wanted.append(shop.add("a", "l", "u"))
    client = Client(shop, filter=filter)
    steps = 0
    while client.step():
        steps += 1
    assert client.subscriber.state is State.LIVE
    assert (client.ids, client.superseded) == (wanted, 0)
    assert steps < 6


def test_each_stream_has_passes_of_its_own() -> None:
    """Too much follows in one stream; in the other one, everything fits in a page."""
    shop = Shop("a", "b")
    for n in range(20):
        shop.add("a", f"k{n % 9}")
        if n % 10 == 0:
            shop.add("b")
    client = Client(shop)
    client.step()
    client.step()
    shop.add("b")
    client.go_on()
    assert [ms for stream, *_, ms in client.got if stream == "b"] == [2, 13, 23]
    told = [data for type_, data in client.own if type_ == "stream.superseded"]
    assert told == [{"channel": "a", "events": 11}]


def test_passes_that_begin_together_are_told_together_and_counted() -> None:
    shop = Shop("a", "b")
    client = Client(shop)
    for round_ in (1, 2):
        for n in range(20):
            shop.add("ab"[n % 2], f"k{n % 4}")
        client.go_on()
        told = [data for type_, data in client.own if type_ == "stream.superseded"]
        assert told == [{"channel": "a", "events": 8}, {"channel": "b", "events": 8}] * round_
        assert shop.hub.states.passes.superseded == {"a": 8 * round_, "b": 8 * round_}
        shop.hub.lag(client.subscriber)


def test_a_step_takes_in_a_slice_of_the_window_and_sends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So a window of any size stalls no node. Such a step is followed by a rest."""
    monkeypatch.setattr(passes, "SLICE", 10)
    shop = Shop("a")
    for n in range(35):
        shop.add("a", "kl"[n % 2])
    client, sends = Client(shop), []
    while client.subscriber.state is State.LAGGING:
        step = shop.hub.advance(client.subscriber, PAGE_BYTES)
        assert isinstance(step, Send)
        sends.append((step.left_out, [p.events for p in step.parts if isinstance(p, Page)]))
        client.read(b"".join(part.data for part in step.parts))
        if len(sends) == 2:
            shop.add("a", "m")  # also what comes meanwhile
    assert sends == [(1.0, []), (1.0, []), (1.0, []), (0.0, [3])]
    assert (client.ids, client.superseded) == ([34, 35, 36], 33)


def test_what_is_never_skipped_gives_way_to_the_state_if_it_is_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(passing, "SPARE_BYTES", 300)
    shop = Shop("a", state=True)
    client = Client(shop).go_on()
    shop.hub.lag(client.subscriber)
    for n in range(20):
        shop.add("a", f"k{n}")
        shop.add("a", f"k{n}", "sold" if n % 4 else "u")
    client.go_on()
    kept = [("a", f"k{n}", type_) for n in range(0, 20, 4) for type_ in "tu"]
    assert sorted(client.has) == sorted(kept)
    assert [type_ for type_, _ in client.own] == ["stream.live", "stream.state", "stream.live"]
    shop.add("a", "m")
    assert client.has["a", "m", "t"] == shop.ms


def test_a_state_that_ends_where_a_pass_is_full_is_not_sent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another client still reads this state, and its cut is shared for a few more events."""
    monkeypatch.setattr(passing, "SPARE_BYTES", 300)
    monkeypatch.setattr(states, "_PAGE_BYTES", PAGE_BYTES)
    shop = Shop("a", state=True)
    for n in range(10):
        shop.add("a", f"k{n}")
    slow, client = Client(shop, state=True), Client(shop, state=True)
    assert slow.step()
    while len(client.got) < 10:
        assert client.step()
    for _ in range(20):
        shop.add("a", "m", "sold")  # none of these is skipped
    shop.add("a", "m")
    for _ in range(20):
        client.step()
    assert client.subscriber.state is State.LIVE
    assert [type_ for type_, _ in client.own].count("stream.state") == 2
    assert client.has["a", "m", "t"] == shop.ms
    assert slow.go_on().has == client.has


def test_without_a_state_a_pass_ends_where_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passing, "SPARE_BYTES", 300)
    shop = Shop("a")
    client = Client(shop).go_on()
    shop.hub.lag(client.subscriber)
    for n in range(40):
        shop.add("a", "k", "sold" if n % 2 else "t")
    client.go_on()
    assert [ms for *_, type_, ms in client.got if type_ == "sold"] == list(range(2, 41, 2))
    assert client.ids == sorted(set(client.ids))
    assert client.superseded + len(client.got) == 40


def test_behind_the_window_the_state_comes_in_the_place_of_a_pass() -> None:
    shop = Shop("a", window_events=4, state=True)
    for n in range(30):
        shop.add("a", f"k{n % 5}")
    shop.add("a", "k1", "sold")
    client = Client(shop, last_id="3-0").go_on()
    assert sorted(client.ids) == [26, 28, 29, 30]
    assert [type_ for type_, _ in client.own] == ["stream.state", "stream.live"]
    assert client.last_id == "31-0"
    assert shop.hub.resumes["state"] == 1
    assert not +shop.hub.resets


def test_a_state_that_is_not_whole_does_not_take_what_a_client_has() -> None:
    """The client is to forget what it holds when a state comes, and has more than this one."""
    shop = Shop("a", window_events=4, state=True)
    for n in range(30):
        shop.add("a", f"k{n % 5}")
    shop.hub.states.folds["a"].since = EventId(20, 0)
    client = Client(shop, last_id="3-0").go_on()
    assert client.ids == list(range(4, 31))


def test_what_changes_while_a_state_is_sent_comes_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(states, "_PAGE_BYTES", PAGE_BYTES)
    shop = Shop("a", window_events=12, state=True)
    for n in range(40):
        shop.add("a", f"k{n}")
    client = Client(shop, state=True)
    while client.step() and "stream.live" not in dict(client.own):
        for n in range(8):
            shop.add("a", f"k{n}")
        shop.add("a", f"k{30 + shop.ms % 9}", "sold")
    cut = client.own[0][1]["keys"]
    assert cut == 40
    assert shop.windows["a"].floor > EventId(40, 0)
    client.go_on()
    assert [type_ for type_, _ in client.own].count("stream.state") == 1
    assert client.asks == 0
    fold = shop.hub.states.folds["a"]
    assert {key[1] for key in client.has} == set(fold.cut().values)
    after = [one for one in client.got if one[-1] > 40]
    assert len(after) + client.superseded == shop.ms - 40


def test_a_stream_without_passes_is_sent_every_event_after_its_state() -> None:
    shop = Shop("a", "every", state=True)
    for stream in ("a", "every"):
        shop.add(stream)
    client = Client(shop, state=True)
    client.step()
    for _ in range(20):
        for stream in ("a", "every"):
            shop.add(stream)
    client.go_on()
    assert [ms for stream, *_, ms in client.got if stream == "every"] == [2, *range(4, 43, 2)]
    assert [ms for stream, *_, ms in client.got if stream == "a"] == [1, 41]


def test_a_client_that_is_cut_off_in_a_state_gets_it_again_and_counts_as_such() -> None:
    shop = Shop("a", state=True)
    shop.add("a")
    client = Client(shop, state=True)
    client.cut()
    client.go_on()
    assert [type_ for type_, _ in client.own].count("stream.state") == 2
    assert +shop.hub.resumes == {"state": 1}


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
BURST = st.lists(ADD, min_size=1, max_size=12)  # most are more than a page
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


@pytest.mark.parametrize("slice_", [2, 2000])
@given(
    ops=st.lists(BURST | GO, max_size=30),
    window_events=st.sampled_from([2, 5, 1000]),
    keys=st.sampled_from([(), ("k", "m")]),
    spare=st.sampled_from([150, 1 << 20]),
)
def test_whatever_happens_a_client_has_what_the_events_add_up_to(
    slice_: int,
    ops: Sequence[list[Add] | Go],
    window_events: int,
    keys: tuple[str, ...],
    spare: int,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passes, "SLICE", slice_)
        patch.setattr(passing, "SPARE_BYTES", spare)
        patch.setattr(states, "_PAGE_BYTES", PAGE_BYTES)
        shop = Shop("a", "b", window_events=window_events, state=True)
        filter = KeysAndTypes.of(keys) if keys else ALL
        clients = [
            Client(shop, *of, filter=filter, state=bool(n)) for of in ("a", "ab") for n in (0, 1)
        ]
        for op in ops:
            if isinstance(op, list):
                for one in op:
                    shop.add(*one)
                continue
            for client in clients:
                if op.lag:
                    shop.hub.lag(client.subscriber)
                client.step()
                if op.cut:
                    client.cut(op.share)
        for client in clients:
            client.go_on()
            assert not [told for told in client.own if told[0] == "stream.reset"]
            assert client.has == {
                (stream, key, value.type): value.id.ms
                for stream in client.subscription.streams
                for key, values in shop.hub.states.folds[stream].cut().values.items()
                for value in values
                if not keys or key in keys
            }


@pytest.mark.parametrize("streams", [("a",), ("a", "b")])
@given(
    ops=st.lists(BURST | GO, max_size=30),
    window_events=st.sampled_from([2, 5, 1000]),
    keys=st.sampled_from([(), ("k", "m")]),
)
def test_whatever_happens_nothing_is_lost(
    streams: tuple[str, ...],
    ops: Sequence[list[Add] | Go],
    window_events: int,
    keys: tuple[str, ...],
) -> None:
    shop = Shop("a", "b", window_events=window_events)
    filter = KeysAndTypes.of(keys) if keys else ALL
    whole, torn = (Client(shop, *streams, filter=filter) for _ in range(2))
    for op in ops:
        if isinstance(op, list):
            for one in op:
                shop.add(*one)
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
        stalest_s: the longest time for which the client had an old value of a key, since it came.
        pass_s: the longest time that a pass, or a state, took.
    """

    def __init__(self, scale: float, *, window_events: int, sold: float = 0.0) -> None:
        """Prepare it; all of the sizes, but not the times, are multiplied by a scale.

        Args:
            scale: the factor.
            window_events: so many are in the window.
            sold: the share of events that are never skipped, each of a key of its own.
        """
        self.keys, self.rate, self.bytes_s = int(5000 * scale), 2000 * scale, 10_000 * scale
        self.page_bytes, self.sold = int(65_536 * scale), sold
        self.shop = Shop("a", window_events=int(window_events * scale), state=True)
        self.random, self.client = Random(7), Client(self.shop)
        self.now_s = self.stalest_s = self.pass_s = 0.0
        self.events: dict[str, list[tuple[int, float]]] = {}  # of each key: ids and times
        self.have: dict[str, int] = {}
        self.sent = self.noted = self.sold_keys = 0
        self.unsent = self.begun_s = self.came_s = 0.0

    def happen(self, seconds: float) -> None:
        """Add events."""
        self.now_s += seconds
        for _ in range(int(self.rate * seconds)):
            if self.random.random() < self.sold:
                self.sold_keys += 1
                self.shop.add("a", f"s{self.sold_keys:060}", "sold")
                continue
            number = 0 if self.random.random() < 0.2 else self.random.randrange(self.keys)
            key = f"k{number:060}"  # an event has about 110 bytes
            self.events.setdefault(key, []).append((self.shop.add("a", key), self.now_s))

    def arrive(self, client: Client) -> None:
        """Let a client come: it has seen nothing of what has happened."""
        self.client, self.begun_s, self.came_s = client, self.now_s, self.now_s

    def run(self, seconds: float) -> None:
        end_s, step_s = self.now_s + seconds, 0.1
        while self.now_s < end_s:
            self.happen(step_s)
            self.unsent = max(0.0, self.unsent + self.taken() - self.bytes_s * step_s)
            self.note_all()
            if self.unsent > self.page_bytes:
                self.shop.hub.lag(self.client.subscriber)
            while self.unsent <= self.page_bytes / 4 and self.advance():
                self.unsent += self.taken()
                self.note_all()
        for key in self.events:
            self.note(key, self.now_s)

    def taken(self) -> int:
        """Return the bytes that were sent since the last call."""
        size, self.sent = self.client.bytes - self.sent, self.client.bytes
        return size

    def advance(self) -> bool:
        """Send a page, if the client lags."""
        announced = len(self.client.own)
        going_on = self.client.step(page_bytes=self.page_bytes)
        told = {type_ for type_, _ in self.client.own[announced:]}
        if told & {"stream.superseded", "stream.state"}:
            self.pass_s = max(self.pass_s, self.now_s - self.begun_s)
            self.begun_s = self.now_s
        return going_on

    def note_all(self) -> None:
        """Note what the client was sent: it has it once the bytes before it are sent."""
        for _, key, _, ms in self.client.got[self.noted :]:
            if not key.startswith("s"):
                self.note(key, self.now_s + self.unsent / self.bytes_s)
                self.have[key] = ms
        self.noted = len(self.client.got)

    def note(self, key: str, now_s: float) -> None:
        """Note for how long the client's value of a key is not the newest one."""
        of_key = self.events[key]
        first = bisect_right(of_key, self.have.get(key, 0), key=itemgetter(0))
        if first < len(of_key):
            since_s = max(of_key[first][1], self.came_s)
            self.stalest_s = max(self.stalest_s, now_s - since_s)

    def check(self, pass_s: tuple[float, float]) -> None:
        """No value is older than two passes, and what lies in the buffer."""
        buffer_s = 1.25 * self.page_bytes / self.bytes_s
        assert pass_s[0] < self.pass_s < pass_s[1]
        assert self.stalest_s <= 2 * self.pass_s + buffer_s
        assert not [told for told in self.client.own if told[0] == "stream.reset"]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> float:
    """A scale, and the hub's own sizes multiplied by it."""
    scale = 0.02
    monkeypatch.setattr(passing, "SPARE_BYTES", int(passing.SPARE_BYTES * scale))
    monkeypatch.setattr(states, "_PAGE_BYTES", int(states._PAGE_BYTES * scale))
    return scale


@pytest.mark.parametrize("window_events", [100_000, 20_000])
def test_no_value_of_a_slow_client_is_older_than_two_passes(
    window_events: int, small: float
) -> None:
    """At 110 bytes for each event, a pass takes longer than the window reaches back."""
    simulation = Simulation(small, window_events=window_events)
    simulation.client.go_on()
    simulation.run(250)
    simulation.check((30, 90))
    assert simulation.client.asks == 0


@pytest.mark.parametrize("begins", ["with the state", "behind the window"])
def test_nor_of_one_that_begins_with_the_state_or_behind_the_window(
    begins: str, small: float
) -> None:
    """While the state is sent, its cut leaves the window: that reaches back 10 s."""
    simulation = Simulation(small, window_events=20_000)
    simulation.happen(100)
    last_id = "40-0" if begins == "behind the window" else ""
    simulation.arrive(Client(simulation.shop, state=True, last_id=last_id))
    simulation.run(250)
    simulation.check((30, 90))
    own = [type_ for type_, _ in simulation.client.own]
    assert own.count("stream.state") == 1
    assert own.count("stream.superseded") > 2
    assert simulation.client.asks == bool(last_id)


def test_nor_where_more_must_not_be_skipped_than_the_client_can_read(small: float) -> None:
    simulation = Simulation(small, window_events=100_000, sold=0.1)
    simulation.client.go_on()
    simulation.run(600)
    simulation.check((100, 200))
    assert [type_ for type_, _ in simulation.client.own].count("stream.state") > 1
