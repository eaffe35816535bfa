"""Several nodes over one Redis: a client that changes between them misses nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from broadcaster import EventId, Publisher
from broadcaster.backend.checkpoints.checkpoint import Found
from broadcaster.backend.checkpoints.moving import Moving
from broadcaster.core.channel import Channel
from broadcaster.core.fanout.subscriber import Subscriber
from broadcaster.core.log import Batch, Change
from tests.nodes import Raw, Running, events, running, told
from tests.wait import http_client, until

LIVE = b"stream.live"
INVENTORY = "/v1/inventory/stream"
BOTH = "/v1/events?channel=orders&channel=inventory"


@pytest.fixture
async def pair(redis_url: str) -> AsyncIterator[tuple[Running, Running]]:
    """Two nodes, one with each sink."""
    async with running(redis_url) as first, running(redis_url, sink="asgi") as second:
        yield first, second


async def resume(hub: Running, path: str, last_id: str) -> Raw:
    return await Raw.get(hub.port, path, f"Last-Event-ID: {last_id}\r\n" if last_id else "")


def resets(body: bytes) -> list[dict[str, str]]:
    return [json.loads(e.data) for e in events(body) if e.event == "stream.reset"]


@pytest.mark.parametrize("path", [INVENTORY, BOTH])
async def test_cut_after_any_byte_and_resume_on_the_other_node(
    pair: tuple[Running, Running], publisher: Publisher, path: str
) -> None:
    stream = await Raw.get(pair[0].port, path + ("&" if "?" in path else "?") + "from=latest")
    await stream.until(LIVE)
    for number in range(12):
        channel = ("inventory", "orders")[number % 2 if path == BOTH else 0]
        await publisher.publish(channel, type="t", key="k", data=f"{number}")
        await stream.until(f"data: {number}\n\n".encode())
    whole = stream.body

    async def check(offset: int) -> None:
        before = told(whole[:offset])
        ids = [line for line in whole[:offset].split(b"\n\n")[:-1] if b"id: " in line]
        last_id = ids[-1].split(b"id: ")[1].split(b"\n")[0].decode() if ids else ""
        if not last_id:
            return
        again = await resume(pair[offset % 2], path, last_id)
        await again.until(LIVE)
        got = before + told(again.body)
        if path == BOTH:  # between streams no order is promised
            got.sort(key=int)
        assert got == [str(number) for number in range(12)], offset
        assert not resets(again.body)
        again.close()

    for start in range(0, len(whole), 40):
        await asyncio.gather(*map(check, range(start, min(start + 40, len(whole)))))


async def test_a_node_that_is_behind_waits_for_its_tailer(
    pair: tuple[Running, Running], publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead, behind = pair
    held = asyncio.Event()
    apply = behind.node.pump.apply

    async def late(stream: str, change: Any) -> Any:
        await held.wait()
        return await apply(stream, change)

    monkeypatch.setattr(behind.node.pump, "apply", late)
    stream = await Raw.get(ahead.port, INVENTORY)
    await stream.until(LIVE)
    for number in range(3):
        await publisher.publish("inventory", data=f"{number}")
    await stream.until(b"data: 2\n\n")
    assert behind.node.hub.windows["inventory"].head == (0, 0)
    again = await resume(behind, INVENTORY, events(stream.body)[-2].id)
    await until(lambda: behind.node.log.reads)
    held.set()
    await again.until(b"data: 2\n\n")  # what was read in one batch is not known
    assert told(again.body) == ["2"]
    assert not resets(again.body)


async def test_an_id_that_redis_does_not_know_is_a_rollback(
    pair: tuple[Running, Running], publisher: Publisher
) -> None:
    newest = await publisher.publish("inventory", data="1")
    phantom = EventId(newest.ms + 1000, 0)
    for hub in pair:
        await hub.has_read("inventory", newest)
        stream = await resume(hub, INVENTORY, str(phantom))
        await stream.until(LIVE)
        (reset,) = resets(stream.body)
        assert (reset["reason"], reset["requested"]) == ("rollback", str(phantom))
        assert reset["resumed"] == str(newest)


def newest_is(hub: Running, data: bytes) -> bool:
    window = hub.node.hub.windows["inventory"]
    frame = window.get(window.head)
    return frame is not None and data in frame.wire


def holding(monkeypatch: pytest.MonkeyPatch, hub: Running, *, state: bool) -> asyncio.Event:
    """Hold back a node's checkpoints or its batches, until the event is set."""
    free = asyncio.Event()
    read, apply = Moving.read, hub.node.pump.apply

    async def late_read(checkpoint: Moving) -> Found:
        await free.wait()
        return await read(checkpoint)

    async def late_apply(stream: str, change: Change) -> list[Subscriber]:
        if isinstance(change, Batch):
            await free.wait()
        return await apply(stream, change)

    if state:
        monkeypatch.setattr(Moving, "read", late_read)
    else:
        monkeypatch.setattr(hub.node.pump, "apply", late_apply)
    return free


@pytest.mark.parametrize(
    ("resumed", "after"),
    [("1-0", ["kept", "new 1", "new 2"]), ("1-2", ["new 2"])],
    ids=["the state is first", "the new entries are first"],
)
async def test_an_id_that_was_given_twice_is_a_rollback(
    pair: tuple[Running, Running],
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
    resumed: str,
    after: list[str],
) -> None:
    """A replica with an older clock becomes master, and counts on from what it has.

    The reset is followed by the state of the new history up to `resumed`, which here is its newest
    event, and then by all that is after it. Where the state ends depends on which comes first after
    the rewind, the state or the new entries.
    """
    for second, data in (("1-0", "kept"), ("1-1", "lost 1"), ("1-2", "lost 2")):
        await client.xadd("inventory", {"data": data}, id=second)
    stream = await Raw.get(pair[0].port, INVENTORY + "?from=earliest")
    await stream.until(LIVE)
    before = ["kept", "lost 1", "lost 2"]
    assert await stream.told(3) == before
    for hub in pair:
        await hub.has_read("inventory", EventId(1, 2))
    free = holding(monkeypatch, pair[0], state=resumed == "1-2")
    async with client.pipeline(transaction=True) as failover:
        failover.delete("inventory")
        failover.xadd("inventory", {"data": "kept"}, id="1-0")
        failover.xadd("inventory", {"data": "new 1"}, id="1-1")
        failover.xadd("inventory", {"data": "new 2"}, id="1-2")
        failover.execute_command("CLIENT", "KILL", "TYPE", "normal")
        await failover.execute()
    if resumed == "1-2":
        await until(partial(newest_is, pair[0], b"new 2"))
    else:
        await stream.told(4)
    free.set()
    assert await stream.told(3 + len(after)) == before + after
    (reset,) = resets(stream.body)
    assert (reset["reason"], reset["requested"]) == ("rollback", "1-2")
    assert reset["resumed"] == resumed
    assert reset["state"]
    for hub in pair:
        await until(partial(newest_is, hub, b"new 2"))
        again = await resume(hub, INVENTORY, "1-1")  # of which history? It is unknown
        await again.until(LIVE)
        assert [reset["reason"] for reset in resets(again.body)] == ["rollback"]


def small(window_events: int) -> dict[str, Channel]:
    channel = Channel(
        name="inventory", path=INVENTORY, key_param="petId", window_events=window_events
    )
    return {"inventory": channel}


async def test_events_before_the_window_come_from_redis(
    redis_url: str, publisher: Publisher
) -> None:
    async with running(redis_url, channels=small(10)) as hub:
        ids = await publisher.publish_many(
            ("inventory", "t", f"k{n % 2}", str(n)) for n in range(3500)
        )
        await hub.has_read("inventory", ids[-1])
        assert len(hub.node.hub.windows["inventory"]) == 10
        stream = await resume(hub, INVENTORY, str(ids[4]))
        await stream.until(LIVE)
        assert told(stream.body) == [str(n) for n in range(5, 3500)]
        keyed = await Raw.get(hub.port, f"{INVENTORY}?petId=k1&from=earliest")
        await keyed.until(LIVE)
        assert told(keyed.body) == [str(n) for n in range(1, 3500, 2)]
        timed = await Raw.get(hub.port, f"{INVENTORY}?from=2020-01-01T00:00:00Z")
        await timed.until(LIVE)
        assert len(told(timed.body)) == 3500
        assert not resets(stream.body + keyed.body + timed.body)


async def test_a_herd_with_one_cursor_shares_its_reads(
    redis_url: str, publisher: Publisher
) -> None:
    async with running(redis_url, channels=small(10)) as hub:
        ids = await publisher.publish_many(("inventory", "t", "", str(n)) for n in range(500))
        await hub.has_read("inventory", ids[-1])
        herd = await asyncio.gather(*(resume(hub, INVENTORY, str(ids[0])) for _ in range(100)))
        for stream in herd:
            await stream.until(LIVE)
            assert told(stream.body) == [str(n) for n in range(1, 500)]
        assert hub.node.log.reads <= 20


@pytest.mark.parametrize("window_events", [10, 100_000])
async def test_cursors_at_the_trim_edge(
    redis_url: str, publisher: Publisher, client: Any, window_events: int
) -> None:
    ids = await publisher.publish_many(("inventory", "t", "", str(n)) for n in range(1000))
    await client.xtrim("inventory", maxlen=100, approximate=False)
    async with running(redis_url, channels=small(window_events)) as hub:
        for cursor, wanted, told_so in (
            (ids[0], range(900, 1000), True),  # long gone
            (ids[898], range(900, 1000), True),  # 899, which it had not seen, is gone
            (ids[900], range(901, 1000), False),  # the oldest
            (ids[999], range(0), False),  # the newest
        ):
            stream = await resume(hub, INVENTORY, str(cursor))
            await stream.until(LIVE)
            assert told(stream.body) == [str(n) for n in wanted]
            assert [r["reason"] for r in resets(stream.body)] == ["trimmed"] * told_so
            # Its next id is one to stand on.
            again = await resume(hub, INVENTORY, events(stream.body)[-1].id)
            await again.until(LIVE)
            assert not resets(again.body)


async def test_the_first_id_is_always_one_of_an_entry(
    redis_url: str, publisher: Publisher, client: Any
) -> None:
    for seq in range(1, 4):
        await client.xadd("inventory", {"data": str(seq)}, id=f"1000-{seq}")
    await client.xtrim("inventory", maxlen=1, approximate=False)
    async with running(redis_url, channels=small(10)) as hub:
        for start in ("?from=earliest", "?from=1000-1"):
            stream = await Raw.get(hub.port, INVENTORY + start)
            await stream.until(LIVE)
            ids = [line for line in stream.body.split(b"\n") if line.startswith(b"id")]
            assert set(ids) == {b"id: 1000-3"}


async def test_the_empty_beginning_is_continuous_until_something_is_removed(
    redis_url: str, publisher: Publisher, client: Any
) -> None:
    ids = await publisher.publish_many(("inventory", "t", "", str(n)) for n in range(30))
    for window_events in (10, 100):
        async with running(redis_url, channels=small(window_events)) as hub:
            stream = await resume(hub, INVENTORY, "0-0")
            await stream.until(LIVE)
            assert told(stream.body) == [str(n) for n in range(30)]
            assert not resets(stream.body)
    await client.xdel("inventory", str(ids[0]))
    for window_events in (10, 100):
        async with running(redis_url, channels=small(window_events)) as hub:
            stream = await resume(hub, INVENTORY, "0-0")
            await stream.until(LIVE)
            assert len(resets(stream.body)) == 1
            assert told(stream.body) == [str(n) for n in range(1, 30)]


async def test_a_stream_that_is_deleted_resets_its_clients_and_no_others(
    pair: tuple[Running, Running], publisher: Publisher, client: Any
) -> None:
    for hub in pair:
        inventory = await Raw.get(hub.port, INVENTORY)
        orders = await Raw.get(hub.port, "/v1/events?channel=orders")
        await inventory.until(LIVE)
        await orders.until(LIVE)
        await publisher.publish("inventory", data="old")
        await inventory.until(b"data: old\n\n")
        await client.delete("inventory")
        await inventory.until(b"stream.reset")
        await publisher.publish("inventory", data="new")
        await publisher.publish("orders", data="order")
        await inventory.until(b"data: new\n\n")
        await orders.until(b"data: order\n\n")
        assert len(resets(inventory.body)) == 1
        assert not resets(orders.body)


async def test_trimming_all_that_was_read_is_no_loss(
    pair: tuple[Running, Running], publisher: Publisher, client: Any
) -> None:
    hub, _ = pair
    stream = await Raw.get(hub.port, INVENTORY)
    await stream.until(LIVE)
    for number in range(5):
        await publisher.publish("inventory", data=f"{number}")
        await stream.until(f"data: {number}\n\n".encode())
        await client.xtrim("inventory", maxlen=0, approximate=False)
    assert not resets(stream.body)


async def test_a_burst_that_was_trimmed_before_it_was_read_is_a_reset(
    pair: tuple[Running, Running], publisher: Publisher, client: Any
) -> None:
    hub, _ = pair
    await publisher.publish("inventory", data="first")
    stream = await Raw.get(hub.port, f"{INVENTORY}?from=earliest")
    await stream.until(LIVE)
    assert await stream.told(1) == ["first"]
    pipe = client.pipeline(transaction=True)
    for number in range(50):
        pipe.xadd("inventory", {"data": str(number)}, maxlen=10, approximate=False)
    await pipe.execute()
    await stream.until(b"data: 49\n\n")
    assert told(stream.body) == ["first", "49"], "the state follows the reset"
    (reset,) = resets(stream.body)
    assert reset["reason"] == "trimmed"
    assert reset["state"]


async def test_a_key_that_is_no_stream_harms_only_its_channel(
    pair: tuple[Running, Running], publisher: Publisher, client: Any
) -> None:
    hub, _ = pair
    orders = await Raw.get(hub.port, "/v1/events?channel=orders")
    await orders.until(LIVE)
    await client.set("inventory", "text")
    await until(lambda: any("WRONGTYPE" in problem for problem in hub.node.problems()))
    await publisher.publish("orders", data="order")
    await orders.until(b"data: order\n\n")
    await client.delete("inventory")
    await until(lambda: not hub.node.problems())
    await publisher.publish("inventory", data="again")
    inventory = await Raw.get(hub.port, f"{INVENTORY}?from=earliest")
    await inventory.until(b"data: again\n\n")


async def test_a_stream_that_can_not_be_read_from_the_start_harms_only_its_channel(
    redis_url: str, publisher: Publisher, client: Any
) -> None:
    await client.set("inventory", "text")
    await publisher.publish("orders", data="order")
    async with running(redis_url, ready=False) as hub:
        orders = await Raw.get(hub.port, "/v1/events?channel=orders&from=earliest")
        await orders.until(b"data: order\n\n")
        inventory = await Raw.get(hub.port, INVENTORY)
        assert b"retry: " in await inventory.rest()


async def test_readiness_and_channels_show_an_incomplete_window(
    redis_url: str, publisher: Publisher
) -> None:
    ids = await publisher.publish_many(("inventory", "t", "", str(n)) for n in range(30))
    async with (
        running(redis_url, channels=small(10)) as hub,
        http_client(base_url=hub.url) as browser,
    ):
        answer = (await browser.get("/v1/channels/inventory")).json()
        assert (answer["oldest"], answer["newest"]) == (str(ids[0]), str(ids[-1]))
        assert answer["length"] == 30


async def test_an_id_far_in_the_future_is_reported_and_start_times_are_refused(
    redis_url: str, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(redis_url) as hub, http_client(base_url=hub.url) as browser:
        stream = await Raw.get(hub.port, INVENTORY)
        await stream.until(LIVE)
        await client.xadd("inventory", {"data": "far"}, id="9999999999999-0")
        await until(lambda: "9999999999999-0 is" in caplog.text)
        for number in range(3):
            await client.xadd("inventory", {"data": str(number)})
        assert await stream.told(4) == ["far", "0", "1", "2"]
        for start in ("10m", "2026-01-31T12:00:00Z"):
            answer = await browser.get(f"{INVENTORY}?from={start}")
            assert answer.status_code == 400
            assert "give an event id, earliest or latest" in answer.json()["detail"]
        again = await Raw.get(hub.port, INVENTORY + "?from=9999999999999-0")
        assert await again.told(3) == ["0", "1", "2"]
        await client.delete("inventory")
        await client.xadd("inventory", {"data": "now"})
        await until(lambda: "in step with the clock again" in caplog.text)


async def test_clients_are_reset_at_once_when_their_stream_is_replaced_by_another_type(
    redis_url: str, client: Any, publisher: Publisher
) -> None:
    await publisher.publish("inventory", data="1")
    async with running(redis_url) as hub:
        stream = await Raw.get(hub.port, INVENTORY)
        await stream.until(LIVE)
        await client.set("inventory", "a string")
        await stream.until(b"stream.reset")
        assert [reset["reason"] for reset in resets(stream.body)] == ["rollback"]
        assert any("WRONGTYPE" in problem for problem in hub.node.problems())
        newcomer = await resume(hub, INVENTORY, "5-0")
        await newcomer.until(LIVE)
        assert len(resets(newcomer.body)) == 1
