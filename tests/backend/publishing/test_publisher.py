from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import CrossSlotTransactionError

from broadcaster import (
    BackendUnavailableError,
    BroadcasterError,
    ConfigurationError,
    ConflictError,
    EventId,
    InvalidEventError,
    Outgoing,
    PartialPublishError,
    Publisher,
    SyncPublisher,
    UnknownChannelError,
    connect,
    load_settings,
)
from broadcaster.core.event import Event
from broadcaster.core.shards import shard_of
from tests.backend.conftest import CHANNELS, NOBODY, Proxy, events_of
from tests.channels import named


async def test_an_event_is_stored_as_it_was_given(client: Any, publisher: Publisher) -> None:
    id = await publisher.publish("pets", type="born", key="a", data={"n": 1})
    text = await publisher.publish("pets", data="two\nlines")
    nothing = await publisher.publish("pets", key="b")
    assert await events_of(client, "pets") == [
        Event(id, "born", "a", b'{"n":1}'),
        Event(text, "message", "", b"two\nlines"),
        Event(nothing, "message", "b", b"null"),
    ]


async def test_a_channel_may_have_a_stream_of_another_name(redis_url: str, client: Any) -> None:
    async with Publisher(redis_url, channels=named("pets", stream="shop:pets")) as publisher:
        await publisher.publish("pets")
        await publisher.publish_many([("pets", "message", "", 1)])
        async with publisher.transaction() as transaction:
            transaction.publish("pets")
    assert publisher.stream_of("pets") == "shop:pets"
    assert await client.xlen("shop:pets") == 3


async def test_data_that_does_not_fit_its_schema_is_refused(
    redis_url: str, client: Any, tmp_path: Path
) -> None:
    (tmp_path / "stock.json").write_text('{"properties":{"stock":{"multipleOf":0.1}}}')
    channels = named("pets", schemas={"stock": str(tmp_path / "stock.json")})
    wrong: dict[str, Any] = {"type": "stock", "data": {"stock": 0.15}}
    async with Publisher(redis_url, channels=channels) as publisher:
        for data in ({"stock": 0.3}, '{"stock":1.10}', b'{"stock":1e30}', None):
            await publisher.publish("pets", type="stock", data=data)
        await publisher.publish("pets", data=wrong["data"])
        for options in (wrong, wrong | {"idempotency_key": "a"}, wrong | {"data": "no JSON"}):
            with pytest.raises(InvalidEventError) as caught:
                await publisher.publish("pets", **options)
            assert caught.value.pointer == ("" if options["data"] == "no JSON" else "/stock")
        with pytest.raises(InvalidEventError, match="at /stock: it does not fit"):
            async with publisher.transaction() as transaction:
                transaction.publish("pets", **wrong)
        with pytest.raises(InvalidEventError):
            await publisher.publish_many([("pets", "stock", "", 1), ("pets", "stock", "", "no")])
    with SyncPublisher(redis_url, channels=channels) as sync:
        for options in (wrong, wrong | {"idempotency_key": "a"}):
            with pytest.raises(InvalidEventError, match="at /stock: it does not fit"):
                sync.publish("pets", **options)
    sent = [event.data for event in await events_of(client, "pets")]
    assert sent == [b'{"stock":0.3}', b'{"stock":1.10}', b'{"stock":1e30}', b"null",
                    b'{"stock":0.15}']  # fmt: skip


async def test_streams_are_trimmed(redis_url: str, client: Any) -> None:
    many = [("pets", "message", "", n) for n in range(1_000)]
    channels = named("pets", maxlen=100)
    async with Publisher(redis_url, channels=channels) as publisher:
        await publisher.publish_many(many)
    assert 100 <= await client.xlen("pets") < 300
    async with Publisher(redis_url, channels=channels, maxlen=None) as publisher:
        await publisher.publish_many(many)
    assert await client.xlen("pets") >= 1_100
    with SyncPublisher(redis_url, channels=channels, maxlen=500) as sync:
        sync.publish_many(many)
    assert 500 <= await client.xlen("pets") < 700


@pytest.mark.parametrize(
    "event",
    [
        Outgoing("pets", type="a\nb"),
        Outgoing("pets", type="stream.live"),
        Outgoing("pets", data=b"\xff"),
        Outgoing("pets", data=object()),
    ],
)
async def test_an_event_that_no_node_could_deliver_is_not_sent(
    client: Any, publisher: Publisher, event: Outgoing
) -> None:
    with pytest.raises(InvalidEventError):
        await publisher.publish(event.channel, type=event.type, key=event.key, data=event.data)
    with pytest.raises(InvalidEventError):
        await publisher.publish_many([Outgoing("pets"), event])
    async with publisher.transaction() as transaction:
        with pytest.raises(InvalidEventError):
            transaction.publish(event.channel, type=event.type, data=event.data)
    assert await client.dbsize() == 0


async def test_many_keep_their_order(client: Any, publisher: Publisher) -> None:
    ids = await publisher.publish_many((("pets", "n", "", n) for n in range(25)), batch=10)
    assert ids == sorted(set(ids))
    assert await events_of(client, "pets") == [
        Event(id, "n", "", b"%d" % n) for n, id in enumerate(ids)
    ]
    assert await publisher.publish_many([]) == []


async def test_any_number_of_tasks_may_publish(client: Any, publisher: Publisher) -> None:
    singles = (publisher.publish("pets", data=number) for number in range(300))
    many = (publisher.publish_many([Outgoing("pets")] * 3) for _ in range(300))
    await asyncio.gather(*singles, *many)
    assert await client.xlen("pets") == 1200


async def test_an_invalid_event_after_the_first_batch_reports_the_stored_ones(
    client: Any, publisher: Publisher
) -> None:
    events = [*(Outgoing("pets", data=n) for n in range(15)), Outgoing("pets", type="\n")]
    with pytest.raises(PartialPublishError, match="10 events were published") as caught:
        await publisher.publish_many(events, batch=10)
    assert caught.value.ids == [event.id for event in await events_of(client, "pets")]
    assert isinstance(caught.value.__cause__, InvalidEventError)


async def test_a_single_refusal_reports_the_stored_events(
    client: Any, publisher: Publisher, redis_url: str
) -> None:
    await client.set("string", "no stream")
    events = [Outgoing("pets"), Outgoing("string"), Outgoing("pets")]
    with pytest.raises(PartialPublishError, match="WRONGTYPE") as caught:
        await publisher.publish_many(events)
    first, refused, last = caught.value.ids
    assert refused is None
    assert [event.id for event in await events_of(client, "pets")] == [first, last]
    with (
        SyncPublisher(redis_url, channels=CHANNELS) as sync,
        pytest.raises(PartialPublishError) as caught,
    ):
        sync.publish_many(events)
    assert [id is None for id in caught.value.ids] == [False, True, False]


@pytest.mark.parametrize("blocking", [False, True])
async def test_a_connection_that_breaks_half_way(client: Any, proxy: Proxy, blocking: bool) -> None:
    url = f"redis://127.0.0.1:{proxy.port}"
    events = [Outgoing("pets", data=n) for n in range(50)]
    async with Publisher(url, channels=CHANNELS) as publisher:
        with SyncPublisher(url, channels=CHANNELS) as sync:

            async def publish_many() -> list[EventId]:
                if blocking:
                    return await asyncio.to_thread(sync.publish_many, events, batch=20)
                return await publisher.publish_many(events, batch=20)

            await publish_many()  # the connection is there, and greeted
            await client.flushall()
            proxy.replies = 27
            with pytest.raises(PartialPublishError, match="27 events were published") as caught:
                await publish_many()
            # The batch that broke was sent as a whole, the last one not at all.
            assert len(caught.value.ids) == 40
            announced = [id for id in caught.value.ids if id]
            stored = [event.id for event in await events_of(client, "pets")]
            assert len(announced) == 27
            assert announced == stored[:27]
            proxy.replies = None
            assert len(await publish_many()) == 50


@pytest.mark.parametrize("blocking", [False, True])
async def test_nothing_is_sent_twice(client: Any, proxy: Proxy, blocking: bool) -> None:
    url = f"redis://127.0.0.1:{proxy.port}"
    async with Publisher(url, channels=CHANNELS) as publisher:
        with SyncPublisher(url, channels=CHANNELS) as sync:

            async def publish(data: str) -> EventId:
                if blocking:
                    return await asyncio.to_thread(sync.publish, "pets", data=data)
                return await publisher.publish("pets", data=data)

            await publish("first")
            proxy.replies = 0  # for one connection: if it were sent again, it would be stored
            with pytest.raises(BackendUnavailableError, match="publish to pets"):
                await publish("its answer is lost")
            await publish("last")
        data = [event.data for event in await events_of(client, "pets")]
        assert data == [b"first", b"its answer is lost", b"last"]


async def test_redis_is_away() -> None:
    async with Publisher(NOBODY, channels=CHANNELS) as publisher:
        with pytest.raises(BackendUnavailableError, match="Redis is not available"):
            await publisher.publish("pets")
        with pytest.raises(BackendUnavailableError, match="Redis is not available"):
            await publisher.publish_many([Outgoing("pets")])
        with pytest.raises(BackendUnavailableError):
            async with publisher.transaction("watched"):
                pass
    with SyncPublisher(NOBODY, channels=CHANNELS) as sync:
        with pytest.raises(BackendUnavailableError):
            sync.publish("pets")
        with pytest.raises(BackendUnavailableError):
            sync.publish_many([Outgoing("pets")])


async def test_redis_refuses_for_good(client: Any, publisher: Publisher) -> None:
    await client.set("string", "no stream")
    with pytest.raises(ConfigurationError, match="WRONGTYPE"):
        await publisher.publish("string")


async def test_a_cancelled_call_leaves_no_replies_to_the_next_one(publisher: Publisher) -> None:
    def events() -> Iterator[Outgoing]:
        for n in range(1_000):
            if n == 250:  # the third batch is cut off, somewhere between sending and reading
                asyncio.get_running_loop().call_later(delay_s, task.cancel)
            yield Outgoing("pets", data="x" * 100)

    for turn in range(40):
        delay_s = turn * 20e-6
        task = asyncio.create_task(publisher.publish_many(events(), batch=100))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await publisher.redis.execute_command("ECHO", "mine") == b"mine"


async def test_a_client_that_was_given_stays_open(redis_url: str) -> None:
    decoding: Any = connect(redis_url, decode_responses=True)
    async with Publisher(decoding, channels=CHANNELS) as publisher:
        id = await publisher.publish("pets")
        await publisher.publish_many([Outgoing("pets")])
    assert await decoding.xlen("pets") == 2
    assert isinstance(id, EventId)
    await decoding.aclose()


async def test_the_blocking_publisher(redis_url: str, client: Any) -> None:
    channels = [*named("a"), *named("b", stream="other")]
    with SyncPublisher(redis_url, channels=channels) as publisher:
        ids = [publisher.publish("a", type="t", key="k", data={"n": 1})]
        ids += publisher.publish_many([("a", "t", "k", n) for n in range(5)], batch=2)
        publisher.publish("b")
        with pytest.raises(InvalidEventError):
            publisher.publish("a", type="\r")
        given = SyncPublisher(publisher.redis, channels=channels)
        given.close()
        publisher.publish("b")
    assert ids == [event.id for event in await events_of(client, "a")]
    assert await client.xlen("other") == 2


@pytest.fixture
def empty_cluster_url(cluster_url: str) -> Iterator[str]:
    yield cluster_url
    with SyncPublisher(cluster_url) as publisher:
        publisher.redis.flushall()


async def test_cluster(empty_cluster_url: str) -> None:
    async with Publisher(empty_cluster_url, channels=CHANNELS) as publisher:
        many = [Outgoing(channel, data=n) for n in range(20) for channel in ("pets", "orders")]
        ids = await publisher.publish_many(many, batch=7)
        stored = [event.id for event in await events_of(publisher.redis, "orders")]
        assert stored == ids[1::2]
        async with publisher.transaction("{pets}:mine") as transaction:
            assert await transaction.redis.get("{pets}:mine") is None
            transaction.publish("pets", data="last")
            transaction.redis.set("{pets}:mine", "1")
        assert (await events_of(publisher.redis, "pets"))[-1].id == transaction.ids[0]
        with pytest.raises(CrossSlotTransactionError):  # noqa: PT012 -- the block is what is tested
            async with publisher.transaction() as transaction:
                transaction.publish("pets")
                transaction.publish("orders")
        with pytest.raises(ConflictError):  # noqa: PT012 -- the block is what is tested
            async with publisher.transaction("{pets}:mine") as transaction:
                await publisher.redis.set("{pets}:mine", "2")
                transaction.publish("pets")
    with SyncPublisher(empty_cluster_url, channels=CHANNELS) as sync:
        assert len(sync.publish_many(many, batch=7)) == 40


async def test_a_cluster_that_is_away() -> None:
    async with Publisher("redis+cluster://127.0.0.1:1", channels=CHANNELS) as publisher:
        with pytest.raises(BackendUnavailableError):
            await publisher.publish("pets")
        with pytest.raises(BroadcasterError):
            await publisher.publish_many([Outgoing("pets")])


@pytest.mark.parametrize("blocking", [False, True])
async def test_a_channel_that_is_not_configured_is_refused_and_the_known_are_named(
    client: Any, redis_url: str, publisher: Publisher, blocking: bool
) -> None:
    if blocking:
        with SyncPublisher(redis_url, channels=CHANNELS) as sync:
            with pytest.raises(UnknownChannelError, match=r"'pest'.*orders, pets, string"):
                sync.publish("pest")
            with pytest.raises(UnknownChannelError):
                sync.publish_many([Outgoing("pets"), Outgoing("pest")])
    else:
        with pytest.raises(UnknownChannelError, match=r"'pest'.*orders, pets, string"):
            await publisher.publish("pest")
        with pytest.raises(UnknownChannelError):
            await publisher.publish_many([Outgoing("pets"), Outgoing("pest")])
        with pytest.raises(UnknownChannelError):  # noqa: PT012 -- the block is what is tested
            async with publisher.transaction() as transaction:
                transaction.publish("pets")
                transaction.publish("pest")
        with pytest.raises(UnknownChannelError):
            publisher.stream_of("")
    assert await client.dbsize() == 0


async def test_channels_come_from_the_environment_if_none_are_given(
    redis_url: str, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "BROADCASTER_CHANNELS",
        '{"tickets": {"path": "/t", "stream": "shop:tickets"},'
        ' "orders": {"path": "/o", "shards": 2}}',
    )
    async with Publisher(redis_url) as publisher:
        await publisher.publish("tickets")
        await publisher.publish("orders", key="a")
        with pytest.raises(UnknownChannelError):
            await publisher.publish("inventory")
    settings = load_settings(redis_url=redis_url)
    with SyncPublisher.of(settings) as sync:
        sync.publish("tickets")
        sync.publish("orders", key="a")
    assert await client.xlen("shop:tickets") == 2
    assert await client.xlen(f"orders.{shard_of('a', 2)}") == 2
    with pytest.raises(ConfigurationError, match="redis_url"):
        Publisher.of(load_settings())


async def test_the_callers_own_commands_raise_our_errors(client: Any, publisher: Publisher) -> None:
    await client.set("string", "no hash")
    with pytest.raises(ConfigurationError, match="WRONGTYPE"), publisher.commands() as redis:
        await redis.hgetall("string")
    async with Publisher(NOBODY, channels=CHANNELS) as away:
        with pytest.raises(BackendUnavailableError), away.commands() as redis:
            await redis.get("string")
    sync = SyncPublisher(NOBODY, channels=CHANNELS)
    with pytest.raises(BackendUnavailableError), sync.commands() as redis:
        redis.get("string")
    sync.close()
