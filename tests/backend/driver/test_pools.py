"""A pool that has open connections gives out those, whatever could not be opened beside them."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from redis.exceptions import ConnectionError as NoConnection

from broadcaster import EmbeddedRedis, connect, connect_sync
from broadcaster.backend.driver.pools import OpenFirst, SyncOpenFirst
from broadcaster.backend.driver.sentinel import SentinelPool, SyncSentinelPool
from tests.wait import until, until_sync

COMMANDS = 8
"""The connections of a pool, of which Redis accepts some, and the commands after that."""

pytestmark = pytest.mark.server


def test_clients_that_follow_sentinels_have_such_pools() -> None:
    assert issubclass(SentinelPool, OpenFirst)
    assert issubclass(SyncSentinelPool, SyncOpenFirst)


async def _is_alone(client: Any) -> bool:
    """Return True if the connection by which the server was started is gone."""
    return len(await client.client_list()) == 1


@pytest.mark.parametrize("accepted", [1, 2, 3])
async def test_what_could_not_be_opened_is_given_out_last(accepted: int) -> None:
    with EmbeddedRedis() as server:
        client: Any = connect(server.url)
        await until(partial(_is_alone, client))
        await client.config_set("maxclients", accepted)
        pool = client.connection_pool
        taken = [pool.get_available_connection() for _ in range(COMMANDS)]
        for connection in taken[:accepted]:
            await pool.ensure_connection(connection)
        for connection in taken[accepted:]:
            with pytest.raises(NoConnection):
                await pool.ensure_connection(connection)
        for connection in taken:  # those that are closed come back last
            await pool.release(connection)
        for number in range(COMMANDS):
            assert await client.echo(str(number)) == str(number).encode()
        await client.aclose()


@pytest.mark.parametrize("accepted", [1, 2, 3])
def test_what_could_not_be_opened_is_given_out_last_to_blocking_code(accepted: int) -> None:
    with EmbeddedRedis() as server:
        client: Any = connect_sync(server.url)
        until_sync(lambda: len(client.client_list()) == 1)
        client.config_set("maxclients", accepted)
        pool = client.connection_pool
        opened = [pool.get_connection() for _ in range(accepted)]
        closed = pool.make_connection()  # Redis would refuse it
        pool._in_use_connections.add(closed)
        for connection in (*opened, closed):
            pool.release(connection)
        for number in range(COMMANDS):
            assert client.echo(str(number)) == str(number).encode()
        client.close()
