"""Connections that are cancelled or closed at any moment."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from broadcaster import (
    Outgoing,
    PartialPublishError,
    Publisher,
)


async def test_a_command_can_be_cancelled_at_any_turn_of_the_loop(publisher: Publisher) -> None:
    async def commands() -> None:
        for _ in range(100):
            await publisher.redis.execute_command("ECHO", "cancelled")

    for turns in range(1, 20):
        task = asyncio.create_task(commands())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await publisher.redis.execute_command("ECHO", "mine") == b"mine"


async def test_a_connection_that_is_closed_meanwhile_is_trouble_that_passes(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    client: Any = publisher.redis
    pool = client.connection_pool
    connection = await pool.get_connection()
    await pool.release(connection)
    check_health = connection.check_health

    async def closed_by_another_task() -> None:
        await check_health()
        await connection.disconnect()

    monkeypatch.setattr(connection, "check_health", closed_by_another_task)
    with pytest.raises(PartialPublishError, match="closed while it was used"):
        await publisher.publish_many([Outgoing("pets", data="lost")])
    monkeypatch.undo()
    await publisher.publish_many([Outgoing("pets", data="kept")])
