"""Slow clients, and clients without progress. `test_endpoint.py` tests them over sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable

import pytest
from starlette.types import Message

from broadcaster import Publisher
from broadcaster.core import sse
from broadcaster.core.event import ZERO, Event, EventId
from broadcaster.core.fanout.hub import Hub
from broadcaster.core.fanout.subscriber import Framing, unframed
from broadcaster.core.fanout.turns import Reader
from broadcaster.core.filter import KeysAndTypes
from broadcaster.core.history.window import Window
from broadcaster.core.log import Answer, AnyQuestion
from broadcaster.core.resume.opening import Serve
from broadcaster.core.resume.page import PAGE_BYTES
from broadcaster.core.sse import Frame
from broadcaster.core.subscription import Subscription
from broadcaster.core.wire import Ending
from broadcaster.node.questions import Questions
from broadcaster.web import connection as connection_module
from broadcaster.web.asgi_sink import AsgiSink
from broadcaster.web.connection import Connection
from broadcaster.web.sink import SHARED_BYTES, chunked
from broadcaster.web.spread import Spread
from tests.nodes import Raw, running
from tests.wait import PATIENCE_S, until
from tests.web.test_spread import most_in_a_turn

A = Subscription(("a",))
INVENTORY = "/v1/inventory/stream"


class FakeSink:
    """A socket whose buffer is as full as the test says."""

    pushed = True
    closed = timed_out = False
    on_blocked: Callable[[], object]
    on_closed: Callable[[], object]

    def __init__(self, *unsent: int) -> None:
        self.framing: Framing = unframed
        self.blocked = bool(unsent)
        self.unsent = list(unsent)
        self.written: list[bytes] = []
        self.woken = asyncio.Event()

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.written.append(data)

    def wake(self) -> None:
        self.woken.set()

    async def wait(self) -> None:
        await self.woken.wait()
        self.woken.clear()

    async def send(self, data: bytes) -> None:
        self.write(data)

    async def finish(self) -> None:
        return

    def unsent_bytes(self) -> int:
        assert self.unsent, "it should have been cut"
        return self.unsent.pop(0)

    def hold_back(self) -> None:
        return

    def abort(self) -> None:
        self.closed = self.timed_out = True


def event(ms: int) -> Frame:
    return sse.encode(Event(EventId(ms, 0), "t", "", b"x" * 1000))


def connect(hub: Hub, sink: FakeSink) -> Connection:
    return Connection(hub, Questions(nobody), sink, Serve(A, {"a": ZERO}), 1)


async def nobody(stream: str, question: AnyQuestion, _: Reader | None) -> Answer:
    raise AssertionError(f"{question} is answered by the window")


async def test_a_client_that_makes_progress_is_not_cut() -> None:
    hub, sink = Hub({"a": Window(10, 1000)}), FakeSink(30, 20, 20, 10, 10, 10)
    assert await connect(hub, sink).run(0.01) == "send_timeout"
    assert sink.unsent == []  # it was cut when it had taken nothing
    assert not hub.subscribers


async def test_a_page_is_held_by_the_sink_alone_while_the_client_does_not_read() -> None:
    """So a client that reads nothing costs the node what the sink has not sent, and no more."""
    hub = Hub({"a": Window(5000, 1 << 30)})
    hub.windows["a"].append([event(ms) for ms in range(1, 1000)])

    class Full(FakeSink):
        def write(self, data: bytes) -> None:
            super().write(data)
            self.blocked, self.unsent = True, [len(data)]

    class Rationed:
        def wait_s(self, events: int, size: int) -> float:
            return 60.0

    full, rationed = Full(), FakeSink()
    begun = Questions(nobody), rationed, Serve(A, {"a": ZERO}), 1
    connections = connect(hub, full), Connection(hub, *begun, pacing=Rationed)
    tasks = [asyncio.create_task(connection.run(PATIENCE_S)) for connection in connections]
    await until(lambda: full.written and not full.unsent)  # it waits for progress
    await until(lambda: rationed.written)  # it waits for its next page
    for sink in (full, rationed):
        assert len(sink.written[0]) > PAGE_BYTES
        holders = sys.getrefcount(sink.written[0])
        assert holders == 2  # the list, and the call itself
    for task in tasks:
        task.cancel()


async def test_a_node_that_stops_does_not_wait_for_clients_that_do_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection_module, "_FAREWELL_S", 0.01)
    hub, sink = Hub({"a": Window(10, 1000)}), FakeSink(30, 20)
    connection = connect(hub, sink)
    hub.end(connection.subscriber, Ending.DRAIN, b"retry: 1\n\n")
    async with asyncio.timeout(PATIENCE_S):
        assert await connection.run(30.0) == "send_timeout"
    assert (sink.closed, sink.written) == (True, [])


async def test_last_words_do_not_make_an_end_a_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that reads is given its time, and is counted under its own reason."""
    monkeypatch.setattr(connection_module, "_FAREWELL_S", 0.01)
    hub, sink = Hub({"a": Window(10, 1000)}), FakeSink(60, 50, 40, 40, 30, 30, 20)
    connection = connect(hub, sink)
    hub.end(connection.subscriber, Ending.COMPLETE, b"retry: 1\n\n")
    task = asyncio.create_task(connection.run(0.05))
    await until(lambda: sink.unsent == [20])
    sink.blocked = False
    async with asyncio.timeout(PATIENCE_S):
        assert await task == Ending.COMPLETE
    assert sink.written == [b"retry: 1\n\n"]


async def test_others_run_between_two_pages_of_a_replay() -> None:
    hub, happened = Hub({"a": Window(5000, 1 << 30)}), list[str]()
    hub.windows["a"].append([event(ms) for ms in range(1, 1000)])

    class Noted(FakeSink):
        def write(self, data: bytes) -> None:
            happened.append("a page")
            asyncio.get_running_loop().call_soon(happened.append, "somebody else")

    task = asyncio.create_task(connect(hub, Noted()).run(1.0))
    await until(lambda: hub.live)
    task.cancel()
    assert happened[:4] == ["a page", "somebody else"] * 2


async def test_many_replays_make_their_pages_in_turns() -> None:
    """Or live clients would wait for a page of each, in every turn of the event loop."""
    hub, pages = Hub({"a": Window(5000, 1 << 30)}), Spread(1)
    sinks = [FakeSink() for _ in range(5)]
    hub.windows["a"].append([event(ms) for ms in range(1, 1000)])
    replays = [
        Connection(hub, Questions(nobody), sink, serve, 1, page_bytes=10_000, pages=pages).run(1.0)
        for sink, serve in zip(sinks, [Serve(A, {"a": ZERO})] * 5, strict=True)
    ]
    tasks = [asyncio.create_task(replay) for replay in replays]

    def written() -> int:
        return sum(len(sink.written) for sink in sinks)

    await until(lambda: written() >= 5)
    assert await most_in_a_turn(written, written() + 50) == 1
    assert max(len(sink.written) for sink in sinks) - min(len(sink.written) for sink in sinks) <= 1
    for task in tasks:
        task.cancel()


@pytest.mark.parametrize("rare", [True, False])
async def test_a_page_that_a_filter_leaves_out_is_followed_by_a_rest(rare: bool) -> None:
    """Also one with few events, of which many would fit into one write."""
    hub, sink = Hub({"a": Window(5000, 1 << 30)}), FakeSink()
    types = ["t" if rare and ms % 1000 == 500 else "other" for ms in range(1, 4001)]
    frames = [sse.encode(Event(EventId(n, 0), t, "", b"x")) for n, t in enumerate(types, 1)]
    hub.windows["a"].append(frames)
    at, held = list[EventId](), asyncio.Semaphore(0)

    async def rest(seconds: float) -> None:
        assert seconds > 0
        (subscriber,) = hub.subscribers
        assert subscriber.resume is not None
        at.append(subscriber.resume.position["a"])
        await held.acquire()

    wanted = Subscription(("a",), KeysAndTypes.of(types=["t"]))
    serve = Serve(wanted, {"a": ZERO}, resumed=True)
    task = asyncio.create_task(Connection(hub, Questions(nobody, rest=rest), sink, serve, 1).run(1))
    await until(lambda: at == [EventId(1000, 0)])
    for _ in range(10):
        await asyncio.sleep(0)
        (subscriber,) = hub.subscribers
        subscriber.wake()  # as a heartbeat does
    assert subscriber.resume is not None
    assert subscriber.resume.position["a"] == EventId(2000, 0)  # a second one was free
    for _ in range(4):
        held.release()
    await until(lambda: hub.live)
    assert b"".join(sink.written).count(b"data: x") == (4 if rare else 0)
    task.cancel()


@pytest.mark.parametrize(
    ("position", "parts"),
    [
        (0, (b"retry: 1", b"id: 1-0", b"id: 2-0", b"stream.live")),
        # Two steps of its machine: it has seen 1-5, which is in no history.
        (1, (b"retry: 1", b"stream.reset", b"id: 2-0", b"stream.live")),
    ],
)
async def test_a_newcomer_gets_all_that_is_small_in_one_write(
    position: int, parts: tuple[bytes, ...]
) -> None:
    hub, sink = Hub({"a": Window(10, 100_000)}), FakeSink()
    hub.windows["a"].append([event(1), event(2)])
    at = EventId(position, 5) if position else ZERO
    connection = Connection(hub, Questions(nobody), sink, Serve(A, {"a": at}, resumed=True), 1)
    task = asyncio.create_task(connection.run(1.0))
    await until(lambda: hub.live)
    (written,) = sink.written
    places = [written.find(part) for part in parts]
    assert places == sorted(places)
    assert places[0] == 0
    task.cancel()


async def waiting_for_redis(hub: Hub, sink: FakeSink) -> tuple[Connection, asyncio.Task[str]]:
    """A connection, and its task, which has asked Redis for what the window does not have."""
    asked: list[AnyQuestion] = []

    async def slow(stream: str, question: AnyQuestion, _: Reader | None) -> Answer:
        asked.append(question)
        await asyncio.Event().wait()
        raise AssertionError("it waits for ever")

    connection = Connection(hub, Questions(slow), sink, Serve(A, {"a": ZERO}, resumed=True), 1)
    hub.windows["a"].restart(EventId(5, 0))
    task = asyncio.create_task(connection.run(1.0))
    await until(lambda: bool(asked))
    return connection, task


async def test_bytes_at_hand_do_not_wait_for_redis() -> None:
    sink = FakeSink()
    _, task = await waiting_for_redis(Hub({"a": Window(10, 100_000)}), sink)
    assert sink.written == [b"retry: 1\n"]
    task.cancel()


@pytest.mark.parametrize("gone", [True, False])
async def test_a_subscriber_that_waits_for_redis_is_released_at_once(gone: bool) -> None:
    hub, sink = Hub({"a": Window(10, 100_000)}), FakeSink()
    connection, task = await waiting_for_redis(hub, sink)
    if gone:
        sink.closed = True
        sink.on_closed()
    else:
        hub.end(connection.subscriber, Ending.DRAIN, b"retry: 2\n\n")
    await asyncio.sleep(0)
    connection.subscriber.wake()  # a loop that wakes many does not check which have ended
    async with asyncio.timeout(PATIENCE_S):
        assert await task == ("client" if gone else "drain")
    assert sink.written == [b"retry: 1\n"] + ([] if gone else [b"retry: 2\n\n"])


async def test_a_response_that_fails_at_once_is_whole(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(Connection, "run", fail)
    async with running(redis_url) as hub:
        stream = await Raw.get(hub.port, INVENTORY)
        assert stream.head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert await stream.rest() == b""
        assert stream.ended


async def test_a_client_that_disconnected_is_not_written_to() -> None:
    hub, sink = Hub({"a": Window(10, 100_000)}), FakeSink()
    task = asyncio.create_task(connect(hub, sink).run(1.0))
    await until(lambda: hub.live)
    sink.closed = True
    sink.on_closed()
    for _ in hub.fan_out("a", [event(1)]):  # before its task has run
        pass
    assert len(sink.written) == 1  # that it is live
    task.cancel()


async def test_a_client_that_never_reads_again_is_cut_on_any_server(
    redis_url: str, publisher: Publisher
) -> None:
    async with running(redis_url, sink="asgi", send_timeout_s=0.3) as hub:
        stream = await Raw.get(hub.port, INVENTORY)
        await stream.until(b"stream.live")
        stream.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(10):
            await publisher.publish_many([("inventory", "t", "", "x" * 10_000)] * 100)
        await until(hub.node.meters.closed.total)
        assert hub.node.meters.closed["send_timeout"] == 1
        assert not hub.node.hub.subscribers
        with contextlib.suppress(OSError):
            stream.close()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux alone has it")
async def test_the_kernel_notices_a_client_that_vanished_and_buffers_are_small(
    redis_url: str,
) -> None:
    async with running(redis_url, send_timeout_s=7, high_water_bytes=5000) as hub:
        stream = await Raw.get(hub.port, INVENTORY)
        await stream.until(b"stream.live")
        (subscriber,) = hub.node.hub.subscribers
        transport: asyncio.Transport = subscriber.write.__self__  # type: ignore[attr-defined]
        sock = transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7000
        assert transport.get_write_buffer_limits()[1] == 5000


async def test_a_timeout_that_the_kernel_refuses_is_ours_alone(redis_url: str) -> None:
    async with running(redis_url, send_timeout_s=1e9) as hub:
        stream = await Raw.get(hub.port, INVENTORY)
        await stream.until(b"stream.live")
        assert hub.node.meters.opened["transport"] == 1


async def test_through_asgi_an_end_that_is_not_read_is_waited_for_only_so_long() -> None:
    async def send(message: Message) -> None:
        await asyncio.Event().wait()

    async with asyncio.timeout(PATIENCE_S):
        await AsgiSink(never, send, [], send_timeout_s=0.01).finish()


async def test_through_asgi_a_disconnect_is_reported_at_once() -> None:
    async def gone() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        return

    told: list[bool] = []
    sink = AsgiSink(gone, send, [], send_timeout_s=5.0)
    sink.on_closed = lambda: told.append(sink.closed)
    await until(lambda: told == [True])
    await sink.finish()


async def test_through_asgi_a_heartbeat_that_waited_does_not_move_the_cursor_back() -> None:
    sent: list[bytes] = []

    async def send(message: Message) -> None:
        sent.extend(message[name] for name in message if name == "body")

    sink = AsgiSink(never, send, [], send_timeout_s=5.0)
    sink.write(sse.at(b"1-0"))
    await sink.send(b"id: 2-0\ndata: x\n\n")
    await sink.wait()
    assert sent == [b"id: 2-0\ndata: x\n\n"]


async def test_through_asgi_of_heartbeats_that_wait_the_last_position_is_sent() -> None:
    sent: list[bytes] = []

    async def send(message: Message) -> None:
        sent.extend(message[name] for name in message if name == "body")

    sink = AsgiSink(never, send, [], send_timeout_s=5.0)
    for heartbeat in (sse.HEARTBEAT, sse.at(b"1-0"), sse.at(b"2-0"), sse.HEARTBEAT):
        sink.write(heartbeat)
    await sink.wait()
    assert sent == [sse.at(b"2-0")]


async def never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


def test_chunks_are_those_of_http() -> None:
    for size in (1, 300, SHARED_BYTES, 1 << 20):
        assert chunked(b"x" * size) == b"%x\r\n" % size + b"x" * size + b"\r\n"


def test_clients_share_the_bytes_of_a_page() -> None:
    first, second = (chunked(bytes(SHARED_BYTES)) for _ in range(2))
    assert first is second


def test_few_pages_are_kept() -> None:
    first = chunked(b"a" * SHARED_BYTES)
    for number in range(100):
        chunked(b"%d" % number + bytes(SHARED_BYTES))
    assert chunked(b"a" * SHARED_BYTES) is not first
