"""When a client is too slow, and when only slow; over sockets it is in `test_stream.py`."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

import pytest

from broadcaster import Publisher
from broadcaster.core.event import ZERO
from broadcaster.core.hub import Ask, Hub
from broadcaster.core.subscription import Subscriber, Subscription
from broadcaster.core.window import Window
from broadcaster.web.connection import Connection
from tests.nodes import Raw, running
from tests.wait import until

INVENTORY = "/v1/inventory/stream"


class FullSink:
    """A sink whose client reads, but never so much that it may be written to again."""

    pushed = chunked = True
    blocked = True
    closed = timed_out = False
    on_blocked: Callable[[], object]
    on_closed: Callable[[], object]

    def __init__(self, *unsent: int) -> None:
        self.unsent = list(unsent)

    def write(self, data: bytes) -> None:
        raise AssertionError("its buffer is full")

    def wake(self) -> None:
        return

    async def wait(self) -> None:
        await asyncio.Event().wait()

    async def send(self, data: bytes) -> None:
        self.write(data)

    async def start(self, headers: list[tuple[bytes, bytes]]) -> None:
        return

    async def finish(self) -> None:
        return

    def unsent_bytes(self) -> int:
        return self.unsent.pop(0)

    def abort(self) -> None:
        self.closed = self.timed_out = True


async def nobody(subscriber: Subscriber, ask: Ask) -> bytes:
    raise AssertionError(f"{ask} is in the window")


async def test_a_client_that_makes_progress_is_not_cut() -> None:
    hub, sink = Hub({"a": Window(10, 1000)}), FullSink(30, 20, 20, 10, 10, 10)
    connection = Connection(hub, nobody, sink, Subscription(("a",)), {"a": ZERO}, resumed=False)
    assert await connection.run(0.01) == "send_timeout"
    assert sink.unsent == []  # it was cut when it had taken nothing
    assert not hub.subscribers


async def test_a_client_that_never_reads_again_is_cut_on_any_server(
    redis_url: str, publisher: Publisher
) -> None:
    async with running(redis_url, sink="asgi", send_timeout_s=0.3) as hub:
        stream = await Raw.get(hub.port, INVENTORY)
        await stream.until(b"stream.live")
        stream.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(10):
            await publisher.publish_many([("inventory", "t", "", "x" * 10_000)] * 100)
        await until(lambda: not hub.node.hub.subscribers, 10.0)
        assert hub.node.meters.closed["send_timeout"] == 1
        with contextlib.suppress(OSError):
            stream.close()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux alone has it")
async def test_the_kernel_notices_who_has_vanished_and_buffers_are_small(redis_url: str) -> None:
    async with running(redis_url, send_timeout_s=7, high_water_bytes=5000) as hub:
        stream = await Raw.get(hub.port, INVENTORY)
        await stream.until(b"stream.live")
        (subscriber,) = hub.node.hub.subscribers
        transport: asyncio.Transport = subscriber.write.__self__  # type: ignore[attr-defined]
        sock = transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7000
        assert transport.get_write_buffer_limits()[1] == 5000
