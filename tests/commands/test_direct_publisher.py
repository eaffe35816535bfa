"""Publishing to Redis from the command line: an event with an id is stored once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from broadcaster import (
    BackendUnavailableError,
    ConfigurationError,
    EmbeddedRedis,
    InvalidEventError,
    KeyReusedError,
    PartialPublishError,
    Settings,
)
from broadcaster.commands.direct_publisher import DirectPublisher
from broadcaster.core.json.incoming import Incoming

A, B = Incoming("t", "7", "1.10", "a"), Incoming("t", "8", "2", "b")
WITHOUT = Incoming("message", "", "two\nlines")


def settings(url: str, **channel: Any) -> Settings:
    channels: dict[str, Any] = {"pets": {"path": "/pets", "shards": 3, **channel}}
    return Settings(redis_url=url, channels=channels)


@pytest.fixture
def publisher(redis_url: str) -> Iterator[DirectPublisher]:
    with closing(DirectPublisher(settings(redis_url))) as made:
        yield made


async def stored(client: Any) -> int:
    return sum([await client.xlen(f"pets.{shard}") for shard in range(3)])


async def test_an_event_with_an_id_is_stored_once(client: Any, publisher: DirectPublisher) -> None:
    events = [A, WITHOUT, B, WITHOUT]
    first = publisher.publish_many("pets", events)
    again = publisher.publish_many("pets", events)
    same = [one == other for one, other in zip(first, again, strict=True)]
    assert same == [True, False, True, False]
    assert await stored(client) == 6


async def test_an_id_of_another_event_is_refused(client: Any, publisher: DirectPublisher) -> None:
    publisher.publish_many("pets", [A])
    other = A._replace(data="2")
    with pytest.raises(KeyReusedError):
        publisher.publish_many("pets", [other])
    with pytest.raises(PartialPublishError) as caught:
        publisher.publish_many("pets", [WITHOUT, other, B])
    assert [id_ is None for id_ in caught.value.ids] == [False, True, False]
    assert isinstance(caught.value.__cause__, KeyReusedError)
    assert await stored(client) == 3


async def test_what_redis_refuses_is_an_error(
    redis_server: EmbeddedRedis, client: Any, publisher: DirectPublisher
) -> None:
    with (
        closing(DirectPublisher(settings("redis://127.0.0.1:1"))) as lost,
        pytest.raises(BackendUnavailableError),
    ):
        lost.publish_many("pets", [A, WITHOUT])
    await client.set("pets.0", "no stream")
    with pytest.raises(PartialPublishError) as caught:
        publisher.publish_many("pets", [A, B, WITHOUT])
    assert isinstance(caught.value.__cause__, ConfigurationError)
    assert caught.value.ids[2] is None  # what has no key is in shard 0


def test_an_event_is_checked_by_the_schema_of_its_type(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('{"type":"object"}')
    given = settings("redis://127.0.0.1:1", schemas={"t": str(tmp_path / "t.json")})
    with closing(DirectPublisher(given)) as publisher:
        publisher.check("pets", Incoming("t", "", "{}"))
        publisher.check("pets", WITHOUT)
        with pytest.raises(InvalidEventError, match='"type": "object"'):
            publisher.check("pets", A)
        with pytest.raises(InvalidEventError, match="stream"):
            publisher.check("pets", Incoming("stream.x", "", ""))
