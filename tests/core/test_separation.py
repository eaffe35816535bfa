"""What a subscriber sees is decided by its grants alone, whatever others may see.

Subscribers of different grants follow the same channels of one hub, one of which has shards. Each
gets the events that its grants cover, and no others: from pages of windows, from pages of the log,
and live.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from broadcaster.core import sse
from broadcaster.core.access.grants import covered
from broadcaster.core.access.policy import Denied, Grant
from broadcaster.core.channel import Channel
from broadcaster.core.event import ZERO, Event, EventId
from broadcaster.core.fanout.hub import Hub
from broadcaster.core.history.window import Window
from broadcaster.core.log import Entry, Exists, PageAfter, Past
from broadcaster.core.shards import shard_of, without_shard
from broadcaster.core.sse import Frame
from broadcaster.core.subscription import Subscription
from tests.core.fanout.test_hub import Client, fan_out
from tests.nodes import events as parsed

CHANNELS = (
    Channel(name="a", path="/a/{key}"),
    Channel(name="b", path="/b", shards=3),
    Channel(name="c", path="/c"),
)
KEYS = ("", "7", "8", "7:8", "*", "7/8", "7%2F8", "7\u0301", "..")
STREAMS = tuple(stream for channel in CHANNELS for stream in channel.streams)

granted_keys = (
    st.none() | st.just(frozenset("*")) | st.frozensets(st.sampled_from(KEYS[1:]), min_size=1)
)
grants = st.fixed_dictionaries({channel.name: granted_keys for channel in CHANNELS})
happenings = st.lists(
    st.tuples(st.sampled_from(CHANNELS), st.sampled_from(KEYS), st.booleans()), max_size=25
)


def subscription_to(granted: dict[str, frozenset[str] | None]) -> Subscription:
    """Return what a client gets that names no key, as the door makes it."""
    found = []
    for name, keys in granted.items():
        own = covered(Grant(keys=keys or frozenset("*")), name, frozenset(), 0.0)
        assert own is not None
        assert not isinstance(own, Denied)
        found.append((name, own))
    return Subscription.to(CHANNELS, granted=tuple(found))


def sees(granted: dict[str, frozenset[str] | None], channel: str, key: str) -> bool:
    keys = granted[channel]
    return keys is None or "*" in keys or key in keys


class Log:
    """All entries, of which a window holds the last three of each stream."""

    def __init__(self) -> None:
        self.frames: defaultdict[str, list[Frame]] = defaultdict(list)

    def answer(self, client: Client) -> None:
        while question := client.catch_up():
            stream, asked = question
            frames = self.frames[stream]
            match asked:
                case PageAfter(after):
                    start = bisect_right([frame.id for frame in frames], after)
                    page = frames[start : start + 2]
                    end = page[-1].id if page else after
                    client.answer(Past(page, end, proven=True))
                case Exists(id_):
                    client.answer(any(frame.id == id_ for frame in frames))
                case Entry(id_):
                    client.answer(next((f for f in frames if f.id == id_), None))
                case _:
                    raise AssertionError(asked)


@given(st.lists(grants, min_size=2, max_size=4), happenings)
def test_a_subscriber_sees_what_its_grants_cover_and_nothing_else(
    several: list[dict[str, frozenset[str] | None]],
    happened: list[tuple[Channel, str, bool]],
) -> None:
    hub, log = Hub({stream: Window(3, 100_000) for stream in STREAMS}), Log()
    clients: list[tuple[dict[str, frozenset[str] | None], Client]] = []
    entries: list[tuple[str, str, bytes]] = []
    for number, (channel, key, joins) in enumerate(happened, 1):
        if joins and several:  # it begins at the beginning, so some of its past is in the log
            granted = several.pop()
            clients.append((granted, Client(hub, subscription_to(granted), resumed=True)))
        stream = list(channel.streams)[shard_of(key, channel.shards)]
        data = b"%d" % number
        frame = sse.encode(Event(EventId(number, 0), "t", key, data))
        log.frames[stream].append(frame)
        entries.append((without_shard(stream)[0], key, data))
        fan_out(hub, stream, frame)
        for _, client in clients:
            log.answer(client)
    for granted in several:
        clients.append((granted, Client(hub, subscription_to(granted), resumed=True)))
        log.answer(clients[-1][1])
    for granted, client in clients:
        body = b"".join(client.data)
        told = sorted(int(e.data) for e in parsed(body) if not e.event.startswith("stream."))
        assert told == [int(d) for name, key, d in entries if sees(granted, name, key)]
        assert b"stream.reset" not in body


@given(grants, grants)
def test_subscriptions_are_equal_only_if_they_see_the_same(
    one: dict[str, frozenset[str] | None], other: dict[str, frozenset[str] | None]
) -> None:
    differ = any(
        sees(one, channel.name, key) != sees(other, channel.name, key)
        for channel in CHANNELS
        for key in (*KEYS, "another")
    )
    first, second = subscription_to(one), subscription_to(other)
    if differ:
        assert first != second
    else:
        assert first == second


def test_keys_of_one_channel_open_nothing_in_another() -> None:
    granted = (("a", frozenset({"7"})), ("c", frozenset({"8"})))
    subscription = Subscription.to([CHANNELS[0], CHANNELS[2]], granted=granted)
    seven = sse.encode(Event(EventId(1, 0), "t", "7", b""))
    assert subscription.accepts("a", seven)
    assert not subscription.accepts("c", seven)
    assert subscription.filtered
    assert subscription.cursor({"a": ZERO, "c": ZERO}) == b"a=0-0,c=0-0"
