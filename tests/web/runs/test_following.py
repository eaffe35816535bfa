"""A run is followed by its id, whatever the request says besides."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from starlette.responses import Response

from broadcaster.core.catalogue import Catalogue
from broadcaster.core.event import EventId
from broadcaster.core.wanted import Wanted
from broadcaster.core.wire import Shed
from broadcaster.web.dialects import native
from broadcaster.web.runs import following
from tests.channels import named
from tests.nodes import running

(CHANNEL,) = named("answers", requests="answers.requests")


def request(query: str) -> dict[str, Any]:
    return {"type": "http", "method": "GET", "query_string": query.encode(), "headers": []}


async def follow(node: Any, query: str) -> Wanted | Response | Shed:
    run, channels = EventId(7, 1), {"answers": CHANNEL}
    wanted = native.read(request(query), channels, CHANNEL, str(run), 10**13)
    return await following.followed(node, request(query), wanted, run, asks=False)


async def test_a_run_waits_at_the_head_until_it_has_an_event(redis_url: str, client: Any) -> None:
    await client.hset("{answers}:run:7-1", mapping={"state": "waiting", "event_key": "7-1"})
    at = EventId.of_entry(await client.xadd("answers", {"data": "another's"}))
    async with running(redis_url, channels=Catalogue([CHANNEL])) as hub:
        wanted = await follow(hub.node, "run=7-1&from=earliest&key=other")
        assert isinstance(wanted, Wanted)
        assert (wanted.positions, wanted.run) == ({"answers": at}, EventId(7, 1))
        assert wanted.subscription.keys == {"7-1"}
        await client.hset("{answers}:run:7-1", "first", "5-3")
        wanted = await follow(hub.node, "run=7-1")
        assert isinstance(wanted, Wanted)
        assert wanted.positions == {"answers": EventId(5, 2)}


async def test_a_follower_that_was_cut_amid_the_state_of_its_run_begins_with_it(
    redis_url: str, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_state = replace(CHANNEL, state="append", append="text")
    monkeypatch.setattr(f"{__name__}.CHANNEL", with_state)
    await client.hset("{answers}:run:7-1", mapping={"state": "waiting", "event_key": "7-1"})
    async with running(redis_url, channels=Catalogue([with_state])) as hub:
        for run, expected in (("7-1", {"answers"}), ("6-1", set())):
            wanted = await follow(hub.node, f"run=7-1&lastEventId=answers=state,run={run}")
            assert isinstance(wanted, Wanted)
            assert wanted.states == expected
            assert (wanted.positions == {}) is (run == "7-1")


async def test_trouble_sheds_the_follower(redis_url: str, client: Any) -> None:
    await client.set("{answers}:run:7-1", "no hash")
    async with running(redis_url, channels=Catalogue([CHANNEL])) as hub:
        assert await follow(hub.node, "run=7-1") is Shed.REDIS
