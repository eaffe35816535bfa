"""The hub's additions to the Cluster client. Failovers are in `e2e/test_failover.py`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from redis.exceptions import ClusterDownError

from broadcaster import (
    BackendUnavailableError,
    EmbeddedRedis,
    Publisher,
    connect,
    connect_sync,
)
from broadcaster.backend.driver.errors import UNAVAILABLE
from broadcaster.backend.driver.replies import counting_class, raw_stream_replies
from tests.backend.conftest import Proxy
from tests.channels import named
from tests.wait import until


def commands(server: Any) -> dict[str, int]:
    """How often each command was called."""
    stats = server.info("commandstats")
    return {name.removeprefix("cmdstat_"): value["calls"] for name, value in stats.items()}


async def test_reading_a_stream_is_one_command(cluster_url: str) -> None:
    client: Any = connect(cluster_url)
    raw_stream_replies(client)
    await client.xadd("s", {"a": "1"})
    server: Any = connect_sync(cluster_url.replace("+cluster", ""))
    server.config_resetstat()
    for _ in range(10):
        assert len(await client.xread({"s": "0"})) == 1
    counted = commands(server)
    assert counted["xread"] == 10
    assert "command|getkeys" not in counted
    server.close()
    await client.delete("s")
    await client.aclose()


async def test_a_cluster_that_is_away_is_unavailable(cluster_url: str) -> None:
    client: Any = connect("redis+cluster://127.0.0.1:1")
    with pytest.raises(ClusterDownError):
        await client.xread({"s": "0"})
    async with Publisher(client, channels=named("s")) as publisher:
        with pytest.raises(BackendUnavailableError):
            await publisher.publish("s", data=1)
    await client.aclose()


@contextmanager
def one_server() -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis("--cluster-enabled", "yes") as server:
        client: Any = connect_sync(server.url)
        with client:
            client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
            client.config_set("cluster-announce-ip", "127.0.0.1")
        yield server


@pytest.mark.server
async def test_when_all_servers_have_moved_the_url_still_leads_to_them() -> None:
    with one_server() as first, one_server() as second:
        proxy = Proxy(first.port)
        async with proxy.serving():
            client: Any = connect(f"redis+cluster://127.0.0.1:{proxy.port}")

            async def answers() -> bool:
                try:
                    return bool(await client.xadd("s", {"a": "1"}))
                except UNAVAILABLE:
                    return False

            await until(answers)
            proxy._target_port = second.port
            first.kill()
            await until(answers)
            await client.aclose()


async def test_a_connection_that_is_replaced_without_a_word_is_counted(redis_url: str) -> None:
    client: Any = connect(redis_url)
    other: Any = connect(redis_url)
    assert await client.ping()
    assert counting_class(client).made == 1
    assert counting_class(other).made == 0
    await other.client_kill_filter(_type="normal", skipme=True)
    assert await client.ping()
    assert counting_class(client).made == 2
    await client.aclose()
    await other.aclose()
