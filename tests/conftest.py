"""What all tests share: a real Valkey, emptied for each test."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis

from broadcaster import EmbeddedRedis, Publisher, connect

# Where a shell has started us in the background, SIGINT is ignored, and by our children too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[EmbeddedRedis]:
    """One server for the session. A test that stops or slows its server starts its own."""
    with EmbeddedRedis() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: EmbeddedRedis) -> str:
    """The url of an empty server."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Any]:
    """A client of the empty server; Any, as redis-py's reply types name every shape there is."""
    made: Any = connect(redis_url)
    yield made
    await made.aclose()


@pytest.fixture
async def publisher(redis_url: str) -> AsyncIterator[Publisher]:
    """A publisher to the empty server."""
    async with Publisher(redis_url) as made:
        yield made
