"""Reads ask for less after a connection was closed in a reply, and for more again later."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import TimeoutError as RedisTimeout

from broadcaster.backend.read_size import ReadSize

CLOSED = NoConnection("Connection closed by server.")


class Clock:
    s = 100.0


def read_size(clock: Clock) -> ReadSize:
    return ReadSize("pets", 1000, now_s=lambda: clock.s)


async def test_a_reply_that_took_too_long_makes_the_next_ones_smaller_for_a_moment() -> None:
    made = read_size(Clock())
    for error in (RedisTimeout("slow"), TimeoutError()):
        await made.failed(error, 1000, None)
        assert made.count == 250
    made.worked()
    made.worked()
    assert made.count == 1000


async def test_a_connection_that_redis_closed_makes_the_next_reads_smaller_for_long(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    made = read_size(clock)
    for _ in range(4):  # four reads that were sent together
        await made.failed(CLOSED, 1000, None)
    made.worked()
    assert made.count == 250
    clock.s += 61.0
    made.worked()
    assert made.count == 500
    made.worked()
    assert made.count == 500
    for _ in range(2):
        clock.s += 61.0
        made.worked()
    assert made.count == 1000
    assert "perhaps client-output-buffer-limit or maxmemory-clients" in caplog.text
    assert "ask for 250" in caplog.text


async def test_a_server_that_is_away_is_no_limit(caplog: pytest.LogCaptureFixture) -> None:
    made = read_size(Clock())
    await made.failed(NoConnection("Error 111 connecting to localhost:6379"), 1000, None)
    assert made.count == 1000
    assert not caplog.records


async def test_a_restart_is_told_from_a_limit(
    client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    await client.config_resetstat()
    clock = Clock()
    made = read_size(clock)
    for _ in range(4):  # four reads at a time are cut by `CLIENT KILL`, and then again
        await made.failed(CLOSED, 1000, client)
    made.worked()
    clock.s += 30.0
    await made.failed(CLOSED, 1000, client)
    assert (made.count, caplog.text) == (1000, "")
    clock.s += 1.5  # the same read is cut again: something between may not let it through
    await made.failed(CLOSED, 1000, client)
    assert made.count == 250
    assert "(no limit of Redis was hit)" in caplog.text


async def test_a_limit_that_was_hit_long_ago_is_no_reason_again(client: Any) -> None:
    made = read_size(Clock())
    await client.config_resetstat()
    await client.config_set("client-output-buffer-limit", "normal 16384 0 0")
    try:
        await client.xadd("large", {"data": "x" * 900_000})
        with pytest.raises(NoConnection):
            await client.xrange("large")
    finally:
        await client.config_set("client-output-buffer-limit", "normal 0 0 0")
    await made.failed(CLOSED, 1000, client)
    assert made.count == 250
    await made.failed(CLOSED, 1000, client)
    assert made.count == 250
