"""A node speaks TLS: handshakes are bounded, slow readers are cut, and nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections import Counter
from functools import partial
from typing import Any

import pytest

from broadcaster import Publisher
from tests.nodes import Raw, Running, events, garbage_of, running, told
from tests.tls import OPENSSL, Files, opened
from tests.wait import PATIENCE_S, allowed_s, until

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(not OPENSSL, reason="there is no openssl"),
]

LIVE = b"stream.live"
PIECE, BATCH = 5000, 20


async def test_a_stream_over_tls_has_the_transport_sink_and_resumes(
    secure_hub: Running, trust: ssl.SSLContext, publisher: Publisher
) -> None:
    stream = await opened(secure_hub, trust)
    await stream.until(LIVE)
    await publisher.publish("inventory", data="x" * 100_000)
    await stream.told(1)
    assert secure_hub.node.meters.opened == Counter(transport=1)
    assert secure_hub.node.meters.waiting == 0
    again = await opened(
        secure_hub, trust, f"/v1/inventory/stream?from={events(stream.body)[-1].id}"
    )
    await again.until(LIVE)
    assert told(again.body) == []


async def test_a_drain_ends_streams_over_tls_with_a_retry_and_a_goodbye(
    redis_url: str, files: Files, trust: ssl.SSLContext
) -> None:
    async with running(redis_url, **files.settings) as hub:
        stream = await opened(hub, trust)
        await stream.until(LIVE)
        idle = await opened(hub, trust, "/healthz")
        began_s = asyncio.get_running_loop().time()
        stream.made.clear()  # they stay open
    assert (await stream.rest()).count(b"retry: ") == 2
    assert stream.ended
    assert await gone(idle)
    assert asyncio.get_running_loop().time() - began_s < allowed_s(3.0)
    for raw in (stream, idle):
        raw.close()


async def fill(hub: Running, publisher: Publisher) -> None:
    """Publish a batch, and wait for the node to have it: so it never reads two of them at once."""
    ids = await publisher.publish_many([("inventory", "t", "", "x" * PIECE)] * BATCH)
    await until(lambda: hub.node.hub.windows["inventory"].head >= ids[-1])


async def stalled(hub: Running, trust: ssl.SSLContext, publisher: Publisher) -> tuple[Raw, Any]:
    """A client that reads no more, and its transport on the node, which takes no more."""
    stream = await opened(hub, trust)
    await stream.until(LIVE)
    stream.writer.transport.pause_reading()  # type: ignore[attr-defined]
    (subscriber,) = hub.node.subscribers()
    # On a busy machine it may have been cut before this sees that it was blocked.
    while not subscriber.blocked and hub.node.subscribers():
        await fill(hub, publisher)
    return stream, subscriber.write.__self__  # type: ignore[attr-defined]


async def test_a_client_over_tls_that_reads_slowly_lags_and_gets_everything(
    secure_hub: Running, trust: ssl.SSLContext, publisher: Publisher
) -> None:
    stream, transport = await stalled(secure_hub, trust, publisher)
    for _ in range(10):
        await fill(secure_hub, publisher)
    # Below the mark it is sent a live batch, or a page that is no larger than the mark. Either may
    # be the last: the kernel takes more from time to time. The rest is for encodings.
    mark = secure_hub.node.settings.high_water_bytes
    assert 0 < transport.get_write_buffer_size() < mark + max(mark, BATCH * PIECE) + 10_000
    await publisher.publish("inventory", data="last")
    stream.writer.transport.resume_reading()  # type: ignore[attr-defined]
    await stream.until(b"data: last\n")
    data = told(stream.body)
    assert set(data[:-1]) == {"x" * PIECE}
    assert len(data) % BATCH == 1


async def test_a_client_over_tls_that_never_reads_again_is_cut(
    redis_url: str, files: Files, trust: ssl.SSLContext, publisher: Publisher
) -> None:
    async with running(redis_url, **files.settings, send_timeout_s=0.3) as hub:
        await stalled(hub, trust, publisher)
        await until(hub.node.meters.closed.total)
        assert hub.node.meters.closed["send_timeout"] == 1
        assert not hub.node.subscribers()
        await until(lambda: not hub.node.meters.waiting)


async def test_what_tls_answers_by_itself_is_not_kept_for_a_client_that_does_not_read(
    secure_hub: Running, trust: ssl.SSLContext, publisher: Publisher
) -> None:
    """Each update of a key is answered. A client could send them for as long as it likes."""
    _, transport = await stalled(secure_hub, trust, publisher)
    transport.data_received(b"")
    assert not transport.is_closing()
    transport._outgoing.write(b"an answer to a key update")
    transport.data_received(b"")
    assert transport.is_closing()
    await until(lambda: not secure_hub.node.subscribers())


async def test_a_client_that_breaks_tls_while_it_does_not_read_delays_no_other(
    secure_hub: Running,
    trust: ssl.SSLContext,
    publisher: Publisher,
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = await opened(secure_hub, trust)
    await broken.until(LIVE)
    broken.writer.transport.pause_reading()  # type: ignore[attr-defined]
    (subscriber,) = secure_hub.node.subscribers()
    transport: Any = subscriber.write.__self__  # type: ignore[attr-defined]
    full = 0
    while full < 5:  # below the mark, so that it is written to
        if transport.get_write_buffer_size():
            full += 1
            await asyncio.sleep(0.02)  # the client's own buffers may take more
        else:
            full = 0
            await publisher.publish("inventory", data="x" * PIECE)
    assert not subscriber.blocked
    other = await opened(secure_hub, trust)
    await other.until(LIVE)
    os.write(broken.writer.get_extra_info("socket").fileno(), b"\x17\x03\x03\x00\x20" + b"?" * 32)
    await until(transport.is_closing)
    await publisher.publish("inventory", data="next")
    await other.until(b"data: next\n")
    await until(secure_hub.node.meters.closed.total)
    assert secure_hub.node.meters.closed["client"] == 1  # at once, and not when time was over
    assert len(secure_hub.node.subscribers()) == 1
    assert "unexpected error" not in caplog.text


async def test_a_connection_over_tls_leaves_nothing_for_the_garbage_collector(
    secure_hub: Running, trust: ssl.SSLContext
) -> None:
    assert await garbage_of(secure_hub, lambda: opened(secure_hub, trust), 20) < 20 * 8


# What comes before a request


async def test_handshakes_wait_as_other_connections_do_and_end_in_time(
    redis_url: str, files: Files, trust: ssl.SSLContext
) -> None:
    async with running(redis_url, **files.settings, head_timeout_s=1.5) as hub:
        silent = Raw(*await asyncio.open_connection("127.0.0.1", hub.port))
        await until(lambda: hub.node.meters.waiting == 1)
        assert await gone(silent)
        assert hub.node.meters.waiting == 0
        assert hub.node.meters.refused["slow"] + hub.node.meters.refused["tls"] == 1


async def gone(raw: Raw) -> bool:
    async with asyncio.timeout(PATIENCE_S):
        try:
            while await raw.reader.read(65536):
                pass
        except ConnectionError:
            pass
    return True


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\0" * 500])
async def test_what_is_no_tls_is_closed_and_counted(secure_hub: Running, sent: bytes) -> None:
    raw = Raw(*await asyncio.open_connection("127.0.0.1", secure_hub.port))
    raw.writer.write(sent)
    assert await gone(raw)
    assert (secure_hub.node.meters.refused["tls"], secure_hub.node.meters.waiting) == (1, 0)


async def test_a_client_that_leaves_within_the_handshake_frees_its_place(
    secure_hub: Running,
) -> None:
    for count in (1, 2):
        raw = Raw(*await asyncio.open_connection("127.0.0.1", secure_hub.port))
        raw.writer.write(b"\x16\x03\x01\x02\x00\x01\x00"[: count * 3])
        await until(lambda: secure_hub.node.meters.waiting == 1)
        raw.close()
        await until(lambda count=count: secure_hub.node.meters.refused["tls"] == count)  # type: ignore[misc]
        assert secure_hub.node.meters.waiting == 0


async def test_a_node_stops_while_handshakes_wait(
    redis_url: str, files: Files, trust: ssl.SSLContext
) -> None:
    async with running(redis_url, **files.settings) as hub:
        raw = Raw(*await asyncio.open_connection("127.0.0.1", hub.port))
        await until(lambda: hub.node.meters.waiting == 1)
        raw.made.clear()
        began_s = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began_s < allowed_s(3.0)
    assert await gone(raw)
    assert not any(hub.node.meters.refused.values())
    raw.close()


def answered(port: int, trust: ssl.SSLContext, request: bytes) -> bytes:
    """The answer to a blocking client, to which an end without a goodbye is an error."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as plain:
        options: dict[str, Any] = {"server_hostname": "127.0.0.1", "suppress_ragged_eofs": False}
        with trust.wrap_socket(plain, **options) as client:
            client.sendall(request)
            return b"".join(iter(partial(client.recv, 65536), b""))


@pytest.mark.parametrize(
    ("request_", "status", "refused"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b"200", 0),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, b"431", 1),
    ],
)
async def test_an_answer_over_tls_ends_with_a_goodbye(
    secure_hub: Running, trust: ssl.SSLContext, request_: bytes, status: bytes, refused: int
) -> None:
    answer = await asyncio.to_thread(answered, secure_hub.port, trust, request_)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert secure_hub.node.meters.refused["head"] == refused
