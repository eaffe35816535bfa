"""Histories that change: streams made anew, deleted entries, and ids beside a lost one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from broadcaster import Channel, EventId
from tests.nodes import Raw, Running, events, running, told

LIVE = b"stream.live"
PATHS = {"a": "/v1/a", "b": "/v1/b"}
BOTH = "/v1/events?channel=a&channel=b"
DISCONNECT = "CLIENT KILL TYPE normal"


def channels(window_events: int = 100, shards: int = 1) -> dict[str, Channel]:
    made = {n: Channel(name=n, path=p, window_events=window_events) for n, p in PATHS.items()}
    sharded = Channel(name="c", path="/v1/c", shards=2)
    return made | {"c": sharded}


async def at_once(client: Any, commands: str) -> None:
    """Execute commands, each in a line of its own, in one step."""
    async with client.pipeline(transaction=True) as pipe:
        for command in commands.strip().splitlines():
            pipe.execute_command(*command.split())
        await pipe.execute()


async def returned(hub: Running, path: str, last_id: str) -> bytes:
    """What a client gets that comes back with an id, up to `stream.live`."""
    stream = await Raw.get(hub.port, path, f"Last-Event-ID: {last_id}\r\n")
    await stream.until(LIVE)
    stream.close()
    return stream.body


def resets(body: bytes) -> list[tuple[str, str, str]]:
    """The channel, the reason and the new position of each reset."""
    lost = [json.loads(e.data) for e in events(body) if e.event == "stream.reset"]
    return [(one["channel"], one["reason"], one["resumed"]) for one in lost]


FIRST = "XADD {key} 5-1 data old"
ANEW = "XADD {key} 7-1 data new"
LOSSES = {
    "deleted": f"DEL {{key}}\n{ANEW}",
    "flushed": f"FLUSHALL\n{ANEW}",
    "renamed": f"RENAME {{key}} elsewhere\n{ANEW}",
    "replaced": "XADD elsewhere 7-1 data new\nRENAME elsewhere {key}",
    "disconnected": f"DEL {{key}}\n{ANEW}\n{DISCONNECT}",
    "empty": "DEL {key}",
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("path", "key", "stream", "last_id"),
    [
        (BOTH, "a", "a", "a=0-0,b=0-0"),
        (BOTH, "a", "a", "b=0-0,a=0-0"),
        (PATHS["a"], "a", "a", "0-0"),
        ("/v1/c", "c.1", "c.1", "c.0=0-0,c.1=0-0"),
        ("/v1/c", "c.1", "c.1", "c.0=0-0"),  # the other shard was not followed then
    ],
)
async def test_a_client_of_the_empty_beginning_learns_that_a_history_was_lost(
    redis_url: str, client: Any, loss: str, path: str, key: str, stream: str, last_id: str
) -> None:
    new = EventId(7, 1)
    async with running(redis_url, channels=channels()) as hub:
        redis_key = hub.node.settings.channels[key.split(".")[0]].streams[stream]
        assert not resets(await returned(hub, path, last_id))
        await at_once(client, FIRST.format(key=redis_key))
        await hub.has_read(stream, EventId(5, 1))
        assert not resets(await returned(hub, path, last_id))
        await at_once(client, LOSSES[loss].format(key=redis_key))
        if loss == "empty":
            await hub.has_read(stream, EventId(0, 0))
            assert resets(await returned(hub, path, last_id)) == [(key[0], "rollback", "0-0")]
            await at_once(client, ANEW.format(key=redis_key))
        await hub.has_read(stream, new)
        body = await returned(hub, path, last_id)
        assert resets(body) == [(key[0], "rollback", "0-0")]
        assert told(body) == ["new"]
        again = await returned(hub, path, events(body)[-1].id)
        assert not resets(again)
        assert not told(again)
    async with running(redis_url, channels=channels()) as later:  # it can't know
        assert not resets(await returned(later, path, last_id))


async def test_an_id_that_a_stream_made_anew_gives_again_is_not_trusted(
    redis_url: str, client: Any
) -> None:
    entries = "XADD a 1-1 data {0}\nXADD a 1-2 data {0}\nXADD a 1-3 data {0}"
    async with running(redis_url, channels=channels()) as hub:
        await at_once(client, entries.format("old"))
        await hub.has_read("a", EventId(1, 3))
        stream = await Raw.get(hub.port, PATHS["a"] + "?from=1-1")
        await stream.until(LIVE)
        await at_once(client, f"DEL a\n{DISCONNECT}")
        await stream.until(b"stream.reset")
        await at_once(client, entries.format("new"))
        assert await stream.told(5) == ["old", "old", "new", "new", "new"]
        assert resets(stream.body) == [("a", "rollback", "0-0")]
        assert resets(await returned(hub, PATHS["a"], "1-2")) == [("a", "rollback", "0-0")]


@pytest.mark.parametrize(
    "deleting", ["XDEL a 1-2", "XDEL a 1-3", "XDEL a 1-1 1-2 1-3", "XDEL a 1-2\nXTRIM a MAXLEN 1"]
)
async def test_deleted_entries_reset_no_client_when_the_node_reconnects(
    redis_url: str, client: Any, deleting: str
) -> None:
    async with running(redis_url, channels=channels()) as hub:
        await at_once(client, "\n".join(f"XADD a 1-{n} data {n}" for n in (1, 2, 3)))
        await hub.has_read("a", EventId(1, 3))
        stream = await Raw.get(hub.port, PATHS["a"] + "?from=1-1")
        await stream.until(LIVE)
        await at_once(client, f"{deleting}\n{DISCONNECT}")
        await at_once(client, "XADD a 1-4 data 4")
        assert await stream.told(3) == ["2", "3", "4"]
        assert not resets(stream.body)
        for cursor in ("1-2", "1-3", "1-4"):
            assert not resets(await returned(hub, PATHS["a"], cursor))


@pytest.mark.parametrize(
    ("window_events", "reason"), [(100, "unknown"), (2, "unknown"), (1, "trimmed")]
)
@pytest.mark.parametrize(("path", "last_id"), [(PATHS["a"], "1-3"), (BOTH, "a=1-3,b=0-0")])
async def test_a_lost_entry_is_announced_though_the_next_id_follows(
    redis_url: str, client: Any, window_events: int, reason: str, path: str, last_id: str
) -> None:
    """A failover has lost 1-3, and this node was started later."""
    await at_once(client, "\n".join(f"XADD a 1-{n} data {n}" for n in (1, 2, 4, 5)))
    async with running(redis_url, channels=channels(window_events)) as hub:
        body = await returned(hub, path, last_id)
        assert resets(body) == [("a", reason, "1-2")]
        assert told(body) == ["4", "5"]


async def test_the_position_before_the_oldest_retained_entry_is_good_on_any_node(
    redis_url: str, client: Any
) -> None:
    async with running(redis_url, channels=channels()) as hub:
        await at_once(client, "\n".join(f"XADD a {n}-0 data {n}" for n in (1, 2, 3, 4)))
        await hub.has_read("a", EventId(4, 0))
        await client.xtrim("a", maxlen=2, approximate=False)
        async with running(redis_url, channels=channels()) as later:
            started = later.node.hub.windows["a"].floor
        assert started == EventId(2, 2**64 - 1)
        body = await returned(hub, BOTH, f"a={started},b=0-0")
        assert not resets(body)
        assert told(body) == ["3", "4"]
