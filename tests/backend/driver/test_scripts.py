"""A script is sent once, and again where Redis does not know it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from broadcaster import BackendUnavailableError, connect
from broadcaster.backend.driver.scripts import call, call_each

ADD = 'return redis.call("INCRBY", KEYS[1], ARGV[1])'
WORDS = 1, "{scripts}:sum", 2


@pytest_asyncio.fixture(params=["single", "cluster"])
async def redis(
    request: pytest.FixtureRequest, redis_url: str, cluster_url: str
) -> AsyncIterator[Any]:
    client: Any = connect(redis_url if request.param == "single" else cluster_url)
    await client.flushall()
    await client.script_flush()
    await client.config_resetstat()  # other tests have sent scripts too
    yield client
    await client.aclose()


async def sent(redis: Any) -> int:
    """How often a script was sent whole, since the test began."""
    stats = await redis.info("commandstats")  # of the one node, also of a Cluster
    calls: int = stats.get("cmdstat_eval", {"calls": 0})["calls"]
    return calls


async def test_a_script_is_sent_whole_only_where_it_is_not_known(redis: Any) -> None:
    assert await call(redis, ADD, WORDS, "add") == 2
    assert await call(redis, ADD, WORDS, "add") == 4
    assert await call_each(redis, ADD, [WORDS, WORDS], "add") == [6, 8]
    assert await sent(redis) == 1
    await redis.script_flush()  # as if it had restarted
    assert await call_each(redis, ADD, [WORDS, WORDS, WORDS], "add") == [10, 12, 14]
    assert await call_each(redis, ADD, [], "add") == []


async def test_each_has_its_own_error(redis: Any) -> None:
    await redis.set("{scripts}:text", "x")
    good, bad = await call_each(redis, ADD, [WORDS, (1, "{scripts}:text", 1)], "add")
    assert good == 2
    assert isinstance(bad, Exception)


async def test_a_user_who_may_not_name_scripts_sends_them_whole(redis_url: str) -> None:
    admin: Any = connect(redis_url)
    await admin.execute_command(*["ACL", "SETUSER", "whole", "on", ">x", "~*", "+@all", "-evalsha"])
    client = connect(redis_url, username="whole", password="x")
    await admin.delete(WORDS[1])
    assert await call(client, ADD, WORDS, "add") == 2
    assert await call_each(client, ADD, [WORDS, WORDS], "add") == [4, 6]
    await client.aclose()
    await admin.aclose()


async def test_redis_is_away() -> None:
    client = connect("redis://127.0.0.1:1")
    with pytest.raises(BackendUnavailableError):
        await call(client, ADD, WORDS, "add")
    with pytest.raises(BackendUnavailableError):
        await call_each(client, ADD, [WORDS], "add")
    await client.aclose()
