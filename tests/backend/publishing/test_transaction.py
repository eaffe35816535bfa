"""Events and a state of the caller's own are written together, or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from broadcaster import (
    BackendUnavailableError,
    ConfigurationError,
    ConflictError,
    Publisher,
)
from tests.backend.conftest import CHANNELS, Proxy, events_of


async def test_state_and_events_are_written_together(client: Any, publisher: Publisher) -> None:
    async with publisher.transaction() as transaction:
        transaction.publish("pets", data=1)
        transaction.redis.hset("{pets}:state", "a", "1")
        transaction.publish("pets", data=2)
        assert transaction.ids == []
        assert await client.dbsize() == 0
    assert transaction.ids == [event.id for event in await events_of(client, "pets")]
    assert await client.hget("{pets}:state", "a") == b"1"


async def two_events(publisher: Publisher) -> None:
    async with publisher.transaction() as transaction:
        transaction.publish("pets", data=1)
        transaction.publish("pets", data=2)


async def test_without_the_right_to_it_the_error_says_what_happened(
    client: Any, redis_url: str
) -> None:
    await client.execute_command("ACL", "SETUSER", "u", "on", "nopass", "~*", "+@all", "-multi")
    try:
        async with Publisher(redis_url.replace("//", "//u:@"), channels=CHANNELS) as publisher:
            with pytest.raises(ConfigurationError, match=r"executed by itself: allow \+multi"):
                await two_events(publisher)
    finally:
        await client.execute_command("ACL", "DELUSER", "u")
    assert len(await events_of(client, "pets")) == 2


async def test_an_error_in_the_block_writes_nothing(client: Any, publisher: Publisher) -> None:
    with pytest.raises(FileNotFoundError):  # noqa: PT012 -- the block is what is tested
        async with publisher.transaction("{pets}:state") as transaction:
            transaction.publish("pets")
            raise FileNotFoundError
    assert await client.dbsize() == 0


async def test_a_watched_key_that_changes(client: Any, publisher: Publisher) -> None:
    with pytest.raises(ConflictError):  # noqa: PT012 -- the block is what is tested
        async with publisher.transaction("{pets}:state") as transaction:
            assert await transaction.redis.get("{pets}:state") is None
            await client.set("{pets}:state", "another's")
            transaction.publish("pets")
            transaction.redis.set("{pets}:state", "mine")
    assert await client.get("{pets}:state") == b"another's"
    assert await client.exists("pets") == 0


async def test_a_connection_that_breaks_is_no_conflict(proxy: Proxy) -> None:
    async with Publisher(f"redis://127.0.0.1:{proxy.port}", channels=CHANNELS) as publisher:
        with pytest.raises(BackendUnavailableError):  # noqa: PT012 -- the block is what is tested
            async with publisher.transaction("{pets}:state") as transaction:
                proxy.replies = 0
                transaction.publish("pets")
