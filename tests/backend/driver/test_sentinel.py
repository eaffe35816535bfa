"""Whom to believe, and how long. Whole failovers are in `e2e/test_failover.py`."""

from __future__ import annotations

import time
from typing import Any

import pytest
import redis

from broadcaster import EmbeddedRedis, connect, connect_sync
from broadcaster.backend.driver.sentinel import LOOK_S, SentinelPool, _newest
from tests import ha
from tests.wait import allowed_s


def state(port: int, epoch: int, *, down: bool = False) -> dict[str, Any]:
    flags = {"is_master": True, "is_sdown": down, "is_odown": False}
    return {"ip": "10.0.0.1", "port": port, "config-epoch": epoch} | flags


def test_the_newest_epoch_wins_wherever_it_is_heard() -> None:
    assert _newest([state(1, 3), state(2, 4), state(1, 3)], "m", KeyError) == ("10.0.0.1", 2)


def test_one_that_has_lost_the_master_does_not_speak_for_the_others() -> None:
    assert _newest([state(1, 3, down=True), state(1, 3)], "m", KeyError) == ("10.0.0.1", 1)


def test_an_older_answer_never_leads_back_to_a_master_that_was_replaced() -> None:
    with pytest.raises(KeyError, match="not yet replaced"):
        _newest([state(1, 3), state(2, 4, down=True)], "m", KeyError)


@pytest.mark.server
async def test_sentinels_that_do_not_answer_cost_a_tenth_of_the_time_at_most() -> None:
    with ha.sentinel_set() as topology:
        client: Any = connect(topology.url)
        sync: Any = connect_sync(topology.url)
        assert await client.ping()
        assert sync.ping()
        for sentinel in topology.sentinels:
            sentinel.pause()
        pool = client.connection_pool
        pool._trusted_until = sync.connection_pool._trusted_until = 0.0
        for ping in (client.ping, client.ping):
            assert await ping()
        assert pool._trusted_until - time.monotonic() > LOOK_S * 5
        assert sync.ping()
        assert sync.connection_pool._trusted_until > time.monotonic()
        # One of them is away: the others are most of them.
        for sentinel in topology.sentinels[1:]:
            sentinel.resume()
        pool._trusted_until = 0.0
        began_s = time.monotonic()
        assert await client.ping()
        assert time.monotonic() - began_s < allowed_s(1.0)
        with pytest.raises(redis.ConnectionError, match="no sentinel knows 'other'"):
            await pool.sentinel_manager.discover_master("other")
        await client.aclose()
        sync.close()


class Told:
    """Stands in for sentinels, and names the master that it was given."""

    def __init__(self, master: EmbeddedRedis) -> None:
        self.master = master

    async def discover_master(self, _: str) -> tuple[str, int]:
        return "127.0.0.1", self.master.port

    async def aclose(self) -> None:
        return


@pytest.mark.server
async def test_a_connection_in_use_leaves_the_old_master_when_it_is_given_back() -> None:
    with EmbeddedRedis() as old, EmbeddedRedis() as new:
        sentinels = Told(old)
        pool = SentinelPool("m", sentinels)
        in_use = await pool.get_connection()
        assert in_use.port == old.port
        sentinels.master, pool._trusted_until = new, 0.0
        other = await pool.get_connection()
        await pool.release(in_use)
        again = await pool.get_connection()
        assert (other.port, again.port) == (new.port, new.port)
        await pool.release(other)
        await pool.release(again)
        await pool.aclose()
