"""Entries that can't be sent, and streams that do not exist."""

from __future__ import annotations

import gc

import pytest

from broadcaster import EmbeddedRedis
from broadcaster.backend.driver.connect import connect
from broadcaster.backend.stream import Decoder, Info, RedisStream
from broadcaster.core import sse
from broadcaster.core.event import EventId


def test_an_entry_that_can_not_be_sent_keeps_its_place(caplog: pytest.LogCaptureFixture) -> None:
    decoder = Decoder("pets", max_event_bytes=1000)
    rows = [[b"%d-0" % number, [b"type", b"\x1b", b"data", b"x"]] for number in range(100)]
    rows.append([b"100-0", [b"data", b"x"]])
    frames = decoder.decode(rows)
    assert frames[:100] == [sse.skipped(EventId(number, 0)) for number in range(100)]
    assert frames[100].wire
    assert (decoder.frames, decoder.malformed) == (1, 100)
    (record,) = caplog.records  # it could be each entry of a busy stream
    assert "entry 0-0 of stream 'pets' is not sent" in record.getMessage()


async def test_to_ask_for_a_stream_that_does_not_exist_leaves_nothing_behind(
    redis_server: EmbeddedRedis,
) -> None:
    client = connect(redis_server.url, timeout_s=5.0, client_name="test")
    stream = RedisStream(client, "no stream")
    assert await stream.info() == Info()
    gc.collect()
    gc.disable()
    try:
        for _ in range(100):
            await stream.info()
        assert gc.collect() < 100
    finally:
        gc.enable()
        await client.aclose()
