"""Pages of the log through several nodes over one Redis: a poller misses nothing."""

from __future__ import annotations

import asyncio
import signal
from itertools import cycle
from typing import Any

import httpx
import pytest

from broadcaster import Publisher
from broadcaster.core.channel import Channel
from tests.command_line import ready, starting
from tests.nodes import Raw, events, running
from tests.wait import PATIENCE_S, http_client, until

PATH = "/v1/channels/inventory/events"
SHARDED = {"sharded": Channel(name="sharded", path="/sharded", shards=3, start="earliest")}


async def page(http: httpx.AsyncClient, url: str, **query: Any) -> dict[str, Any]:
    answer = await http.get(url, params=query, timeout=PATIENCE_S)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_poller_goes_on_at_another_node_when_its_own_is_killed(
    redis_url: str, publisher: Publisher, client: Any
) -> None:
    async def publish() -> None:
        for number in range(150):
            await publisher.publish("inventory", type="t", key=str(number % 2), data=number)
            if number == 75:
                node.process.send_signal(signal.SIGKILL)

    async with running(redis_url) as other, starting() as start, http_client() as http:
        node = await start("serve", "--port", "0", env={"BROADCASTER_REDIS_URL": redis_url})
        urls = cycle([await node.url(), other.url])
        url = next(urls)
        await ready(url)
        at = (await page(http, url + PATH))["next"]
        publishing = asyncio.create_task(publish())
        seen = list[int]()
        for limit in cycle([1, 7, 3]):
            try:
                found = await page(http, url + PATH, after=at, limit=limit, wait=60, key="1")
            except httpx.TransportError:
                url = next(urls)
                continue
            assert found["reset"] is None
            seen += [event["data"] for event in found["events"]]
            at = found["next"]
            if seen[-1:] == [149]:
                break
        await publishing
        assert await node.ended() == -signal.SIGKILL
    assert seen == list(range(1, 150, 2))
    assert at == (await client.xrevrange("inventory", count=1))[0][0].decode()


async def test_a_client_changes_between_pages_and_streams(
    redis_url: str, publisher: Publisher
) -> None:
    """Each position is good for the other way to read, at another node, with several shards."""
    async with (
        running(redis_url, channels=SHARDED) as first,
        running(redis_url, channels=SHARDED, sink="asgi") as second,
        http_client() as http,
        Publisher(redis_url, channels=SHARDED) as shards,
    ):
        expected = [str(number) for number in range(60)]
        for number in expected:
            await shards.publish("sharded", type="t", key=number, data=number)
        seen, at = list[str](), ""
        for node in cycle([first, second]):
            found = await page(
                http, f"{node.url}/v1/channels/sharded/events", after=at, limit=7, wait=60
            )
            seen += [str(event["data"]) for event in found["events"]]
            if len(seen) >= len(expected):
                break
            stream = await Raw.get(node.port, "/sharded", f"Last-Event-ID: {found['next']}\r\n")
            await stream.told(1)
            told = [event for event in events(stream.body) if event.event == "t"][:5]
            assert not [event for event in events(stream.body) if event.event == "stream.reset"]
            seen += [event.data for event in told]
            at = told[-1].id
            stream.close()
            if len(seen) >= len(expected):
                break
    assert sorted(seen, key=int) == expected


@pytest.mark.parametrize("how", ["trimmed", "emptied"])
async def test_what_redis_has_lost_is_a_reset_and_then_the_rest(
    redis_url: str, publisher: Publisher, client: Any, how: str
) -> None:
    async with running(redis_url) as old, http_client() as http:
        for number in range(5):
            await publisher.publish("inventory", data=number)
        await until(lambda: len(old.node.hub.windows["inventory"]) == 5)
        found = await page(http, old.url + PATH, **{"from": "earliest"}, limit=2, wait=60)
        at = found["next"]
        assert [event["data"] for event in found["events"]] == [0, 1]
        if how == "trimmed":
            await client.xtrim("inventory", maxlen=2, approximate=False)
        else:
            await client.flushall()
        last = await publisher.publish("inventory", data="last")
        async with running(redis_url) as new:
            await new.has_read("inventory", last)
            found = await page(http, new.url + PATH, after=at, wait=60)
        await old.has_read("inventory", last)
        by_old = await page(http, old.url + PATH, after=at, wait=60)
    told = [event.get("data", event.get("text")) for event in found["events"]]
    assert found["reset"]["requested"] == at
    assert found["next"] == by_old["next"] == str(last)
    if how == "trimmed":  # the old node has them in its window, and knows that nothing is missing
        assert (found["reset"]["reason"], told) == ("trimmed", [3, 4, "last"])
        assert (by_old["reset"], len(by_old["events"])) == (None, 4)
    else:
        assert (found["reset"]["reason"], told) == ("unknown", ["last"])
        assert by_old["reset"]["reason"] == "rollback"
