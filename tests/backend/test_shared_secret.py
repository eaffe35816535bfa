"""The secret that the first node makes, and all nodes have."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from broadcaster import BackendUnavailableError, ConfigurationError
from broadcaster.backend.shared_secret import shared_secret
from tests.backend.conftest import NOBODY

KEY = "secret"


async def test_it_is_made_once_and_is_the_same_everywhere(client: Any, redis_url: str) -> None:
    found = await asyncio.gather(*(shared_secret(redis_url, KEY) for _ in range(10)))
    assert set(found) == {await client.get(KEY)}
    assert len(found[0]) >= 32
    assert await client.ttl(KEY) == -1


async def test_one_that_is_there_is_kept(client: Any, redis_url: str) -> None:
    await client.set(KEY, "of an operator")
    assert await shared_secret(redis_url, KEY) == b"of an operator"


async def test_without_redis_it_is_trouble_that_passes() -> None:
    with pytest.raises(BackendUnavailableError, match=KEY):
        await shared_secret(NOBODY, KEY)


async def test_a_key_of_another_type_is_refused_for_good(client: Any, redis_url: str) -> None:
    await client.xadd(KEY, {"a": "b"})
    with pytest.raises(ConfigurationError, match="WRONGTYPE"):
        await shared_secret(redis_url, KEY)


async def test_one_that_vanishes_is_trouble_that_passes(
    client: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from redis.asyncio import Redis

    async def nothing(*_: Any, **__: Any) -> None:
        return None

    monkeypatch.setattr(Redis, "set", nothing)
    with pytest.raises(BackendUnavailableError, match="gone"):
        await shared_secret(redis_url, KEY)
