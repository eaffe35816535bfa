"""Events with an idempotency key are stored once: on one server, in shards, and on a Cluster."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis.asyncio

from broadcaster import (
    BackendUnavailableError,
    ConfigurationError,
    EmbeddedRedis,
    InvalidEventError,
    KeyReusedError,
    Publisher,
    SyncPublisher,
)
from broadcaster.backend.driver.exchange import exchange
from broadcaster.backend.publishing.idempotency import Sender, Submission
from broadcaster.backend.publishing.outgoing import IDEMPOTENCY_S, Commands
from broadcaster.core.json.incoming import Publication
from broadcaster.core.shards import shard_of
from tests.backend.conftest import CHANNELS, Proxy
from tests.channels import named
from tests.wait import until

SHARDED = named("sharded", shards=3)
KEYS = {shard_of(str(n), 3): str(n) for n in range(9)}  # a key in each shard


def sender(client: Any, idempotency_s: float = IDEMPOTENCY_S) -> Sender:
    commands = Commands([*CHANNELS, *SHARDED], "channel")
    return Sender(client, commands, asyncio.Semaphore(50), idempotency_s)


def over_shards(*data: int, key: str = "k") -> Publication:
    """An event in each shard, for each of these data."""
    return Publication("sharded", [("t", KEYS[s], n) for n in data for s in range(3)], key)


async def lengths(client: Any) -> list[int]:
    return [await client.xlen(f"sharded.{n}") for n in range(3)]


async def test_an_event_with_a_key_is_stored_once(client: Any, publisher: Publisher) -> None:
    ids = [
        await publisher.publish("pets", type="t", key="7", data=1, idempotency_key="k")
        for _ in range(3)
    ]
    assert len(set(ids)) == await client.xlen("pets") == 1
    other = await publisher.publish("pets", type="t", key="7", data=1, idempotency_key="k2")
    assert other > ids[0]
    await publisher.publish("orders", type="t", key="7", data=1, idempotency_key="k")
    assert (await client.xlen("pets"), await client.xlen("orders")) == (2, 1)


async def test_a_blocking_publisher_has_the_same_keys(
    redis_url: str, client: Any, publisher: Publisher
) -> None:
    id_ = await publisher.publish("pets", data={"a": 1}, idempotency_key="k")
    with SyncPublisher(redis_url, channels=CHANNELS) as sync:
        assert sync.publish("pets", data={"a": 1}, idempotency_key="k") == id_
        with pytest.raises(KeyReusedError):
            sync.publish("pets", data={"a": 2}, idempotency_key="k")
    assert await client.xlen("pets") == 1


async def test_a_key_that_was_used_for_another_event_is_refused(
    client: Any, publisher: Publisher
) -> None:
    await publisher.publish("pets", type="t", key="7", data=1, idempotency_key="k")
    for type_, key, data in (("u", "7", 1), ("t", "8", 1), ("t", "7", 2)):
        with pytest.raises(KeyReusedError):
            await publisher.publish("pets", type=type_, key=key, data=data, idempotency_key="k")
    with pytest.raises(InvalidEventError):
        await publisher.publish("pets", type="stream.x", idempotency_key="k3")
    assert await client.xlen("pets") == 1


async def test_the_keys_of_a_sender_are_its_own(client: Any) -> None:
    one = [Publication("pets", [("t", "", 1)], "k")]
    ids = [(await sender(client).send(one, subject))[0].ids for subject in ("ann", "bob", "ann")]
    assert ids[0] == ids[2] != ids[1]
    assert await client.xlen("pets") == 2


async def test_many_senders_at_once_store_an_event_once(redis_url: str, client: Any) -> None:
    async with (
        Publisher(redis_url, channels=CHANNELS) as one,
        Publisher(redis_url, channels=CHANNELS) as other,
    ):
        sent = [p.publish("pets", data=1, idempotency_key="k") for p in (one, other) * 20]
        assert len(set(await asyncio.gather(*sent))) == 1
    assert await client.xlen("pets") == 1


async def test_a_key_is_forgotten_after_its_time(client: Any) -> None:
    one = [Publication("pets", [("t", "", 1)], "k")]
    before = (await sender(client, 0.01).send(one))[0].ids
    await until(lambda: _gone(client))
    assert (await sender(client).send(one))[0].ids != before


async def _gone(client: Any) -> bool:
    return not await client.keys("*:once:*")


async def test_after_a_lost_answer_the_event_is_sent_again_and_stored_once(
    redis_server: EmbeddedRedis, redis_url: str, client: Any
) -> None:
    async with Proxy(redis_server.port).serving() as proxy:
        url = f"redis://127.0.0.1:{proxy.port}"
        async with Publisher(url, channels=CHANNELS) as publisher:
            await publisher.publish("pets", data=0, idempotency_key="k0")
            proxy.replies = 0
            with pytest.raises(BackendUnavailableError):
                await publisher.publish("pets", data=1, idempotency_key="k")
            (stored, _) = (await client.xrange("pets"))[1]
            id_ = await publisher.publish("pets", data=1, idempotency_key="k")
    assert (str(id_), await client.xlen("pets")) == (stored.decode(), 2)


async def test_events_of_one_key_are_stored_in_order_and_streams_are_trimmed(client: Any) -> None:
    commands = Commands(named("pets", maxlen=100), "channel")
    small = Sender(client, commands, asyncio.Semaphore(1), IDEMPOTENCY_S)
    many = Publication("pets", [("t", "", n) for n in range(1_000)], "k")
    (first,) = await small.send([many])
    (again,) = await small.send([many])
    assert first.ids == again.ids == sorted(one for one in first.ids if one)
    assert 100 <= await client.xlen("pets") < 300


async def test_over_shards_a_repeat_completes_what_was_left_out(used: Any) -> None:
    submission = Submission(Commands(SHARDED, "channel"), over_shards(1, 2), "", IDEMPOTENCY_S)
    steps = [*submission.claim(), *submission.writes()]
    replies: list[Any] = []
    await exchange(used, [command for command, *_ in steps[:-1]], replies)
    assert sorted(await lengths(used)) == [0, 2, 2]
    (found,) = await sender(used).send([over_shards(1, 2)])
    (again,) = await sender(used).send([over_shards(1, 2)])
    assert found.ids == again.ids
    assert None not in found.ids
    assert await lengths(used) == [2, 2, 2]


async def test_other_events_are_refused_also_in_another_shard(used: Any) -> None:
    for shard in range(3):
        event = Publication("sharded", [("t", KEYS[shard], 1)], "k")
        (found,) = await sender(used).send([event])
        assert found.refused == (shard > 0)
        assert (found.ids[0] is None) == found.refused
    assert await lengths(used) == [1, 0, 0]


async def test_publications_with_and_without_keys_are_written_in_order(used: Any) -> None:
    for _ in range(2):
        mixed = [
            Publication("sharded", [("t", KEYS[0], n)], f"k{n}" if n % 2 else "") for n in range(10)
        ]
        found = await sender(used).send(mixed)
        ids = [one.ids[0] for one in found]
    assert len(set(ids)) == 10
    assert await lengths(used) == [15, 0, 0]


async def test_what_may_not_set_a_marker_adds_nothing(
    redis_server: EmbeddedRedis, client: Any
) -> None:
    rules = ["on", ">pw", "resetkeys", "-@all", "+@connection", "+eval", "+xadd", "+get"]
    await client.execute_command("ACL", "SETUSER", "half", *rules, "~pets", "~{pets}:once:*")
    url = f"redis://half:pw@127.0.0.1:{redis_server.port}"
    try:
        async with Publisher(url, channels=CHANNELS) as publisher:
            with pytest.raises(ConfigurationError):
                await publisher.publish("pets", data=1, idempotency_key="k")
            assert await client.xlen("pets") == 0
            await client.execute_command("ACL", "SETUSER", "half", "+set")
            await publisher.publish("pets", data=1, idempotency_key="k")
    finally:
        await client.execute_command("ACL", "DELUSER", "half")
    assert await client.xlen("pets") == 1


async def test_what_redis_refuses_for_now_is_stored_when_it_is_sent_again(
    client: Any, publisher: Publisher
) -> None:
    await client.config_set("maxmemory", 1)
    with pytest.raises(BackendUnavailableError):
        await publisher.publish("pets", data=1, idempotency_key="k")
    await client.config_set("maxmemory", 0)
    # What a script left that could set its marker, and could not add the event.
    await client.set("string", "no stream")
    with pytest.raises(ValueError, match="WRONGTYPE"):
        await publisher.publish("string", data=1, idempotency_key="k")
    await client.delete("string")
    for channel in ("pets", "string"):
        await publisher.publish(channel, data=1, idempotency_key="k")
        assert await client.xlen(channel) == 1


async def test_a_client_that_decodes_replies_can_be_used(redis_url: str, client: Any) -> None:
    decoding = redis.asyncio.Redis.from_url(redis_url, decode_responses=True)
    async with decoding, Publisher(decoding, channels=CHANNELS) as publisher:
        first = await publisher.publish("pets", data=1, idempotency_key="k")
        assert await publisher.publish("pets", data=1, idempotency_key="k") == first
