"""Whom to believe, and how long. Whole failovers are in `e2e/test_failover.py`."""

from __future__ import annotations

import time
from typing import Any

import pytest
import redis

from broadcaster import connect, connect_sync
from broadcaster.backend.sentinel import LOOK_S, _newest
from tests import ha


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
        # One of them is away: the others are most of them.
        for sentinel in topology.sentinels[1:]:
            sentinel.resume()
        pool._trusted_until = 0.0
        began_s = time.monotonic()
        assert await client.ping()
        assert time.monotonic() - began_s < 1.0
        with pytest.raises(redis.ConnectionError, match="no sentinel tells of 'other'"):
            await pool.sentinel_manager.discover_master("other")
        await client.aclose()
        sync.close()
