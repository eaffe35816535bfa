"""Subscriptions in-process, over a log in memory and over Redis."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

import pytest

from broadcaster.app import Application, create_app
from broadcaster.backend.driver.connect import connect
from broadcaster.backend.memory import MemoryLog
from broadcaster.core.channel import Channel
from broadcaster.core.event import Event, EventId, Live, Reset
from broadcaster.core.filter import Filter
from broadcaster.core.reading.reading import Yielded
from broadcaster.core.run import key_of
from broadcaster.core.sse import Frame
from broadcaster.errors import (
    BackendUnavailableError,
    InvalidCursorError,
    InvalidRequestError,
    UnknownChannelError,
)
from broadcaster.node.listener import Listener
from broadcaster.settings import Settings
from tests.wait import PATIENCE_S, until

CHANNELS = {
    "stock": Channel(name="stock", path="/stock", window_events=4),
    "orders": Channel(
        name="orders",
        path="/orders/{key}",
        start="earliest",
        terminal=frozenset({"done"}),
        key_required=False,
    ),
    "sharded": Channel(name="sharded", path="/sharded", shards=2),
    "answers": Channel(name="answers", path="/answers", key_param="q", requests="asked"),
}


class Source(Protocol):
    """What can happen to a stream."""

    async def add(self, stream: str, data: str, key: str = "", type: str = "t") -> EventId: ...

    async def trim(self, stream: str, length: int) -> None: ...


class InMemory:
    """Streams of a `MemoryLog`."""

    def __init__(self) -> None:
        self.log = MemoryLog()

    async def add(self, stream: str, data: str, key: str = "", type: str = "t") -> EventId:
        return self.log.add(stream, type=type, key=key, data=data)

    async def trim(self, stream: str, length: int) -> None:
        self.log.trim(stream, length)


class InRedis:
    """Streams of a real server."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def add(self, stream: str, data: str, key: str = "", type: str = "t") -> EventId:
        fields = {"type": type, "key": key, "data": data}
        return EventId.of_entry(await self._client.xadd(stream, fields))

    async def trim(self, stream: str, length: int) -> None:
        await self._client.xtrim(stream, maxlen=length, approximate=False)


@dataclass
class Place:
    """A hub, and its streams."""

    app: Application
    source: Source

    @property
    def subscribers(self) -> int:
        """How many the hub knows."""
        return len(self.app.state.node.hub.subscribers)

    async def added(self, stream: str, *data: str, key: str = "") -> list[EventId]:
        """Add events, and wait until the node has read them."""
        ids = [await self.source.add(stream, text, key) for text in data]
        window = self.app.state.node.hub.windows[stream]
        await until(lambda: window.head >= ids[-1])
        return ids


async def started(app: Application) -> None:
    """Start the node, and wait until it has read its streams."""
    app.state.node.start()
    await app.state.node.loaded(app.state.node.hub.windows)


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.server)])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    if request.param == "memory":
        source = InMemory()
        app = create_app(Settings(channels=CHANNELS, drain_s=0.1), log=source.log)
        await started(app)
        yield Place(app, source)
    else:
        url = request.getfixturevalue("redis_url")
        client = connect(url)
        app = create_app(Settings(redis_url=url, channels=CHANNELS, drain_s=0.1))
        await started(app)
        yield Place(app, InRedis(client))
        await client.aclose()
    await app.state.node.aclose()


async def take(listener: Listener, count: int) -> list[Yielded]:
    async with asyncio.timeout(PATIENCE_S):
        return [await anext(listener) for _ in range(count)]


async def rest(listener: Listener) -> list[Yielded]:
    async with asyncio.timeout(PATIENCE_S):
        return [value async for value in listener]


def texts(values: list[Yielded]) -> list[str]:
    return [value.data.decode() for value in values if isinstance(value, Event)]


async def test_events_come_in_order_and_whole(place: Place) -> None:
    async with place.app.subscribe("stock") as listener:
        assert await take(listener, 1) == [Live(0)]
        first = await place.source.add("stock", "two\nlines", "7", "stock-change")
        assert await take(listener, 1) == [
            Event(first, "stock-change", "7", b"two\nlines", "stock")
        ]
        for number in range(10):
            await place.source.add("stock", str(number))
        assert texts(await take(listener, 10)) == [str(number) for number in range(10)]
    assert not place.subscribers


async def test_a_cursor_goes_on_after_the_last_value_that_was_yielded(place: Place) -> None:
    await place.added("stock", "0", "1", "2")
    async with place.app.subscribe("stock", after="earliest") as listener:
        assert texts(await take(listener, 2)) == ["0", "1"]
    assert not place.subscribers
    await place.added("stock", "3")
    async with place.app.subscribe("stock", after=listener.cursor) as again:
        assert texts(await take(again, 3)) == ["2", "3"]
        cursor = again.cursor
    async with place.app.subscribe("stock", after=cursor) as third:
        assert await take(third, 1) == [Live(0)]


async def test_the_id_of_an_event_is_a_place_to_begin(place: Place) -> None:
    first, _ = await place.added("stock", "0", "1")
    async with place.app.subscribe("stock", after=first) as listener:
        assert texts(await take(listener, 1)) == ["1"]


async def test_a_cursor_of_several_channels_goes_on_in_each(place: Place) -> None:
    await place.added("stock", "s1", "s2")
    await place.added("orders", "o1", "o2")
    names = ["stock", "orders", "sharded"]
    async with place.app.subscribe(names, after="earliest") as listener:
        told = await take(listener, 3)
        assert {value.channel for value in told if isinstance(value, Event)} == {"stock", "orders"}
    async with place.app.subscribe(names, after=listener.cursor) as again:
        told += await take(again, 1)
    assert sorted(texts(told)) == ["o1", "o2", "s1", "s2"]


async def test_what_is_left_out_does_not_hold_a_cursor_back(place: Place) -> None:
    async with place.app.subscribe("stock", keys="7", types=["t"]) as listener:
        assert await take(listener, 1) == [Live(0)]
        waiting = asyncio.ensure_future(take(listener, 1))
        *_, last = await place.added("stock", "a", "b", "c", "d", "e", "f", key="8")
        assert listener.cursor == str(last)
        await place.added("stock", "mine", key="7")
        assert texts(await waiting) == ["mine"]


async def test_a_slow_consumer_lags_and_misses_nothing_that_the_log_has(place: Place) -> None:
    async with place.app.subscribe("stock") as listener:
        assert await take(listener, 1) == [Live(0)]
        await place.added("stock", *map(str, range(20)))  # the window has the last 4
        assert len(place.app.state.node.hub.windows["stock"]) == 4
        assert texts(await take(listener, 20)) == [str(number) for number in range(20)]


async def test_what_is_gone_is_a_reset(place: Place) -> None:
    async with place.app.subscribe("stock") as listener:
        await place.added("stock", "0")
        before, _ = await take(listener, 2)
        assert isinstance(before, Event)
        ids = await place.added("stock", *map(str, range(1, 20)))
        await place.source.trim("stock", 4)
        reset, *told = await take(listener, 5)
        position = str(ids[-5])
        assert isinstance(reset, Reset)
        assert reset[:4] == ("stock", None, "trimmed", str(before.id))
        assert EventId.parse(reset.resumed) >= ids[-5], position
        assert texts(told) == ["16", "17", "18", "19"]


async def test_it_ends_after_a_terminal_event_and_stays_over(place: Place) -> None:
    await place.source.add("orders", "paid", "7")
    await place.source.add("orders", "shipped", "7", "done")
    await place.source.add("orders", "late", "7")
    listener = place.app.subscribe("orders", keys="7", types="nothing else")
    assert texts(await rest(listener)) == ["shipped"]
    assert listener.ending == "complete"
    assert not place.subscribers
    again = place.app.subscribe("orders", keys="7", after=listener.cursor)
    assert await rest(again) == []
    assert again.ending == "complete"


async def test_a_cancelled_wait_frees_it(place: Place) -> None:
    listener = place.app.subscribe("stock")
    await take(listener, 1)
    waiting = asyncio.ensure_future(rest(listener))
    await asyncio.sleep(0)
    assert place.subscribers == 1
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not place.subscribers
    assert listener.ending == "client"
    assert await rest(listener) == []


async def test_one_that_is_dropped_is_freed(place: Place) -> None:
    async for _ in place.app.subscribe("stock"):
        break
    gc.collect()
    await until(lambda: not place.subscribers)


async def test_the_end_of_the_node_ends_it(place: Place) -> None:
    listener = place.app.subscribe("stock")
    await take(listener, 1)
    ending = asyncio.ensure_future(rest(listener))
    await place.app.state.node.aclose()
    assert await ending == []
    assert listener.ending == "drain"
    with pytest.raises(BackendUnavailableError, match="shutting down"):
        await anext(place.app.subscribe("stock"))


async def test_what_can_never_work_is_refused_at_once(place: Place) -> None:
    with pytest.raises(UnknownChannelError):
        place.app.subscribe("nothing")
    with pytest.raises(InvalidRequestError):
        place.app.subscribe([])
    with pytest.raises(InvalidRequestError):
        place.app.subscribe("answers")
    with pytest.raises(InvalidCursorError):
        place.app.subscribe("stock", after="yesterday")
    assert not place.subscribers


async def test_a_full_node_takes_no_listener() -> None:
    app = create_app(Settings(channels=CHANNELS, max_connections=1), log=MemoryLog())
    async with app.subscribe("stock"):
        with pytest.raises(BackendUnavailableError, match="all the connections"):
            await anext(app.subscribe("stock"))
    async with app.subscribe("stock") as listener:
        assert await take(listener, 1) == [Live(0)]
    await app.state.node.aclose()


async def test_a_cursor_of_other_shards_is_a_reset(place: Place) -> None:
    after = "sharded.0=1-0,sharded.5=1-0"
    async with place.app.subscribe("sharded", after=after) as listener:
        told = await take(listener, 2)
    assert {(r.channel, r.shard, r.reason) for r in told if isinstance(r, Reset)} == {
        ("sharded", 0, "invalid"),
        ("sharded", 1, "invalid"),
    }


@dataclass(frozen=True)
class Short(Filter):
    """Events with a short text."""

    limit: int

    def admits(self, frame: Frame) -> bool:
        return len(frame.data) < self.limit


@dataclass(frozen=True)
class ShortOf(Short):
    """The same for one key."""

    key: str = ""

    @property
    def keys(self) -> frozenset[str]:
        return frozenset([self.key])


async def test_a_filter_of_ones_own_selects_beside_keys(place: Place) -> None:
    async with place.app.subscribe("stock", keys=["7", "8"], filter=Short(5)) as listener:
        assert await take(listener, 1) == [Live(0)]
        for key in ("7", "8", "9"):
            await place.added("stock", f"k {key}", f"too long {key}", key=key)
        assert texts(await take(listener, 2)) == ["k 7", "k 8"]


@dataclass(frozen=True)
class Stumbling(Filter):
    """A filter with a mistake: it raises an error at some events."""

    def admits(self, frame: Frame) -> bool:
        return bool(1 / len(frame.data))


async def test_a_filter_that_raises_an_error_ends_its_listener_alone(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    async with place.app.subscribe("stock") as other:
        broken = place.app.subscribe("stock", filter=Stumbling())
        assert await take(broken, 1) == await take(other, 1) == [Live(0)]
        waits = asyncio.create_task(take(broken, 2))
        await place.added("stock", "1", "", "3")
        with pytest.raises(ZeroDivisionError):
            await waits
        assert texts(await take(other, 3)) == ["1", "", "3"]
        assert place.subscribers == 1
    assert "unexpected error" not in caplog.text  # then the stream of all would stand still for 1 s


class Unhashable(Filter):
    __hash__ = None  # type: ignore[assignment]

    def admits(self, frame: Frame) -> bool:
        return True


@dataclass(frozen=True)
class KeyAsText(ShortOf):
    """Each letter of the text would be a key."""

    @property
    def keys(self) -> Any:
        return self.key


@pytest.mark.parametrize("filter_", [Unhashable(), KeyAsText(5, "7"), Short, lambda _: True])
async def test_what_can_be_no_filter_is_refused_at_once(place: Place, filter_: Any) -> None:
    with pytest.raises(TypeError, match=r"unhashable|derived from Filter"):
        place.app.subscribe("stock", filter=filter_)


async def test_the_keys_of_a_filter_hold_in_pages_of_the_log_too(place: Place) -> None:
    async with place.app.subscribe("stock", filter=ShortOf(5, "7")) as listener:
        assert await take(listener, 1) == [Live(0)]
        await place.added("stock", "a", "b", key="8")
        await place.added("stock", "mine", *["long text"] * 6, key="7")
        await place.added("stock", "end", key="7")
        assert texts(await take(listener, 2)) == ["mine", "end"]
    with pytest.raises(InvalidRequestError):
        place.app.subscribe("stock", keys="9", filter=ShortOf(5, "7"))


async def test_a_terminal_event_is_told_whatever_the_filter_says(place: Place) -> None:
    await place.source.add("orders", "a text too long", "7")
    await place.source.add("orders", "also too long", "7", "done")
    listener = place.app.subscribe("orders", keys="7", filter=Short(1))
    assert texts(await rest(listener)) == ["also too long"]


async def test_a_run_that_is_gone_is_replaced_and_that_is_told() -> None:
    log = MemoryLog()
    app = create_app(Settings(channels=CHANNELS), log=log)
    async with app.subscribe("answers", keys="why", after="answers=0-0,run=5-5") as listener:
        gone = Reset("answers", None, "gone", "answers=0-0,run=5-5", "0-0")
        assert await take(listener, 2) == [gone, Live(0)]
        run = listener.cursor.rpartition("run=")[2].partition(",")[0]
        log.add("answers", key=key_of("why", run), data="yes")
        assert texts(await take(listener, 1)) == ["yes"]
    await app.state.node.aclose()


async def test_a_filter_holds_for_a_run_made_on_demand() -> None:
    log = MemoryLog()
    app = create_app(Settings(channels=CHANNELS), log=log)
    async with app.subscribe("answers", keys="why", filter=ShortOf(5, "why")) as listener:
        assert await take(listener, 1) == [Live(0)]
        run = listener.cursor.rpartition("run=")[2].partition(",")[0]
        log.add("answers", key=key_of("why", run), data="far too long")
        log.add("answers", key=key_of("why", run), data="yes")
        assert texts(await take(listener, 1)) == ["yes"]
    await app.state.node.aclose()
