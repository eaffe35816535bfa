"""A node that starts has the state of a log that was trimmed, and says what is missing of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from broadcaster import Publisher
from broadcaster.core.catalogue import PET_STORE
from broadcaster.core.state.checkpoint import mark_of
from broadcaster.node.state.folder import Folder, folded
from tests.nodes import Raw, events, running, told
from tests.wait import http_client, until

PATH = "/v1/inventory/stream?from=state"


@asynccontextmanager
async def folding(url: str) -> AsyncIterator[None]:
    folder = Folder(url, folded(PET_STORE.values()), max_event_bytes=1_000_000)
    stop = asyncio.Event()
    task = asyncio.create_task(folder.run(stop))
    yield
    stop.set()
    await task


async def opened(url: str) -> tuple[dict[str, Any], dict[str, int]]:
    """Return what `stream.state` says to a newcomer of a new node, and the values by key."""
    async with running(url) as hub:
        stream = await Raw.get(hub.port, PATH)
        await stream.until(b"stream.live")
        stream.close()
        found = events(stream.body)
    (said,) = [json.loads(event.data) for event in found if event.event == "stream.state"]
    sent = [json.loads(event.data) for event in found if event.event == "t"]
    return said, {one["petId"]: one["stock"] for one in sent}


async def folded_up_to(client: Any, added: int) -> bool:
    """Return True if the checkpoint is that of so many entries."""
    mark = mark_of(await client.hget("{inventory}:state", "at"))
    return mark is not None and mark.position is not None and mark.added == added


async def publish(publisher: Publisher, pet: str, stock: int) -> None:
    await publisher.publish("inventory", type="t", key=pet, data={"petId": pet, "stock": stock})


async def test_with_a_folder_the_state_outlives_the_log(
    redis_url: str, client: Any, publisher: Publisher
) -> None:
    async with folding(redis_url):
        for n in range(30):
            await publish(publisher, str(n % 10), n)
        newest = {str(n % 10): n for n in range(20, 30)}
        await until(lambda: folded_up_to(client, 30))
        await client.xtrim("inventory", 0, approximate=False)
        said, values = await opened(redis_url)
        assert values == newest
        assert "since" not in said
        await publish(publisher, "3", 99)
        said, values = await opened(redis_url)
        assert values == newest | {"3": 99}
        assert "since" not in said


async def test_of_a_state_that_is_too_large_for_nodes_each_key_is_known(
    redis_url: str, client: Any, publisher: Publisher
) -> None:
    """By checkpoint, log and window together; and the client goes on live."""
    small = {"inventory": replace(PET_STORE["inventory"], state_bytes=150, window_events=3)}
    async with folding(redis_url):
        for n in range(30):
            await publish(publisher, str(n % 10), n)
        await until(lambda: folded_up_to(client, 30))
        await client.xtrim("inventory", 0, approximate=False)
        for n in range(30, 33):
            await publish(publisher, str(n % 10), n)
        async with running(redis_url, channels=small) as hub:
            for pet, stock in (("1", 31), ("5", 25)):
                stream = await Raw.get(hub.port, f"{PATH}&petId={pet}")
                await stream.until(b"stream.live")
                assert json.loads(told(stream.body)[0]) == {"petId": pet, "stock": stock}
                assert b'"keys":1}' in stream.body
                await publish(publisher, pet, 77)
                await stream.until(b'"stock":77')
            async with http_client(base_url=hub.url) as http:
                path = "/v1/channels/inventory/state"
                assert (await http.get(path)).status_code == 409
                answer = (await http.get(path, params={"key": ["5", "6"]})).json()
                assert [event["data"]["stock"] for event in answer["events"]] == [77, 26]
                assert answer["position"] == str(hub.node.hub.windows["inventory"].head)
            whole = await Raw.get(hub.port, PATH)
            await whole.until(b"stream.live")
            assert b'"too_large":true' in whole.body


async def test_without_a_folder_it_says_since_when_it_is_whole(
    redis_url: str, client: Any, publisher: Publisher
) -> None:
    for n in range(30):
        await publish(publisher, str(n % 10), n)
    await client.xtrim("inventory", 5, approximate=False)
    said, values = await opened(redis_url)
    assert values == {str(n % 10): n for n in range(25, 30)}
    (oldest, _), *_ = await client.xrange("inventory")
    assert said["since"].split("-")[0] <= oldest.decode()
