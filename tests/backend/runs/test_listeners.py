"""A worker learns how many clients follow its runs, over all nodes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from broadcaster import Publisher, Run, RunQueue
from broadcaster.backend.clock import own_ms
from broadcaster.backend.nodes import NodesHash
from broadcaster.backend.runs import listeners
from broadcaster.backend.runs.listeners import FOLLOWED, Listeners
from broadcaster.backend.runs.records import Records
from broadcaster.core.catalogue import Catalogue
from tests.channels import named
from tests.nodes import Raw, running
from tests.wait import http_client, until

KEY = "broadcaster.nodes"


class Known:
    def __init__(self, id: str) -> None:
        self.id = id
        self.listeners: int | None = None


async def announce(client: Any, name: str, **followed: int) -> None:
    await NodesHash(client, KEY, name).announce({FOLLOWED: followed} if followed else {})


async def test_the_numbers_of_all_nodes_are_added(client: Any) -> None:
    one, other, none = (Known(id_) for id_ in ("1-1", "2-2", "3-3"))
    runs = [one, other, none]
    found = Listeners(client, KEY, own_ms)
    await found.tell(runs)
    assert [run.listeners for run in runs] == [None, None, None]  # no node is there
    await announce(client, "a", **{"1-1": 2, "2-2": 1})
    await announce(client, "b", **{"1-1": 3})
    await announce(client, "older")
    await found.tell(runs)  # it has just looked
    assert one.listeners is None
    found = Listeners(client, KEY, own_ms)
    await found.tell(runs)
    assert [run.listeners for run in runs] == [5, 1, 0]


async def test_without_the_right_it_is_not_known(client: Any) -> None:
    await client.set(KEY, "no hash")
    one = Known("1-1")
    one.listeners = 7
    await Listeners(client, KEY, own_ms).tell([one])
    assert one.listeners is None


async def reads(publisher: Publisher) -> int:
    redis: Any = publisher.redis
    found = await redis.info("commandstats")
    return int(found.get("cmdstat_hgetall", {"calls": 0})["calls"])


async def test_a_worker_that_keeps_no_run_does_not_ask(redis_url: str, client: Any) -> None:
    channels = named("answers", requests="answers.requests")
    async with Publisher(redis_url, channels=channels) as publisher:
        queue = RunQueue(publisher, "answers", takeover_s=60.0)
        before = await reads(publisher)
        assert await queue.keep() == []
        await client.xadd("answers.requests", {"key": "ann"})
        (run,) = await queue.take(1)
        await Records(publisher.redis, "answers", None).stop(run.id)
        assert await queue.keep() == [run]
        assert await reads(publisher) == before
        await client.xadd("answers.requests", {"key": "ann"})
        (run,) = await queue.take(1)
        assert await queue.keep() == []
        assert await reads(publisher) == before + 1


async def test_from_the_clients_of_a_node_to_the_worker(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("broadcaster.node.registry", listeners.__name__):
        monkeypatch.setattr(f"{module}.ANNOUNCE_S", 0.05)
    channels = Catalogue(named("answers", requests="answers.requests"))
    seen = list[int | None]()

    async def answer(run: Run) -> None:
        await until(lambda: run.listeners == 2)
        seen.append(run.listeners)
        await run.complete()

    async with (
        running(redis_url, channels=channels) as hub,
        http_client(base_url=hub.url) as http,
        Publisher(redis_url, channels=channels) as publisher,
    ):
        made = (await http.post("/v1/answers/stream", json={"key": "ann"})).json()
        bare = f"{made['url']}&profile=bare"
        _ = [await Raw.get(hub.port, path) for path in (made["url"], bare)]
        working = asyncio.create_task(RunQueue(publisher, "answers").serve(answer))
        await until(lambda: seen)
        assert "runs" not in (await http.get("/v1/nodes")).text
        working.cancel()
        await asyncio.wait([working])
