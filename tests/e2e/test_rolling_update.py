"""A rolling update: an older commit's nodes, workers and clients run beside those of this commit.

Both versions share one Redis and publish under load. Clients of both versions are moved from nodes
of one version to nodes of the other, forwards and back. In the end, each client's events are
compared with the streams themselves: nothing is lost, nothing comes twice, and no client is reset.
The nodes of this commit may read tokens, of which the older ones know nothing.

`make rolling-update` does it for a minute, under more load.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Sequence
from functools import partial

import pytest

from broadcaster import EventId
from tests.e2e.versions import (
    GUARDED,
    KEY,
    LASTS_S,
    NEW,
    STREAMS,
    Client,
    Events,
    Front,
    Stage,
    Version,
)
from tests.wait import TEST_S, http_client, until
from tests.workers.conftest import check_coherence, events_of

pytestmark = pytest.mark.timeout(2 * TEST_S + 4 * LASTS_S)


async def test_the_older_commit_is_what_runs(stage: Stage, old: Version) -> None:
    for version in (old, NEW):
        code = await stage.run(version, "site")  # it prints the import path
        await code.ended()
        paths = [line.strip(" ',") for line in code.out]
        assert str(version.directory) in paths
        assert paths.index(str(version.directory)) < 3


@pytest.mark.parametrize("new", [NEW, GUARDED], ids=["open", "guarded"])
async def test_clients_move_between_the_versions(
    stage: Stage, fronts: tuple[Front, Front], old: Version, new: Version
) -> None:
    first, second = fronts
    await first.lead_to(await stage.node(old))
    await second.lead_to(await stage.node(new))
    assert await statuses(fronts) == [200, 401 if new.guarded else 200]
    workers = [await stage.worker(v, name) for v in (old, new) for name in STREAMS]
    clients = [
        await stage.client(old, first, bearer=new.guarded),
        await stage.client(new, first, KEY),
        await stage.client(new, second, bearer=new.guarded),
        await stage.client(old, second, KEY),
    ]
    began_s = time.monotonic()
    await go_on(stage, clients)
    moves = 0
    while not moves or time.monotonic() - began_s < LASTS_S:
        # Each way, from the older version and back to it, once by a death and once by a drain.
        await first.lead_to(await stage.node(new), signal.SIGKILL)
        await second.lead_to(await stage.node(old), signal.SIGKILL)
        await go_on(stage, clients)
        await first.lead_to(await stage.node(old), signal.SIGTERM)
        await second.lead_to(await stage.node(new), signal.SIGTERM)
        await go_on(stage, clients)
        moves += 4
    await list_both_nodes(fronts)

    for worker in workers:
        assert await worker.stop() == 0
    took_s = time.monotonic() - began_s
    for client in clients:
        await check(client, stage.stored(client))
    check_coherence(stage.store)
    got = sum(len(events) for client in clients for events in client.seen().values())
    found = f"{took_s:.0f} s, {moves} nodes replaced, {sum(map(stage.store.xlen, STREAMS))} events"
    print(f"\n{new.name}: {found}, {got} events received, each once and in order")  # noqa: T201


async def statuses(fronts: Sequence[Front]) -> list[int]:
    """The answers to a client without a token that asks for all orders."""
    found = []
    async with http_client() as http:
        for front in fronts:
            url = f"{front.url}/v1/events?channel=orders"
            async with http.stream("GET", url) as answer:
                found.append(answer.status_code)
    return found


async def go_on(stage: Stage, clients: list[Client]) -> None:
    """Wait until each client has an event that is newer than this moment."""
    await until(lambda: all(map(stage.store.exists, STREAMS)))
    heads = stage.heads()
    for client in clients:
        await until(partial(client.is_after, heads))


async def check(client: Client, stored: Events) -> None:
    """A client has all that is stored, once and in order, and no node failed."""
    last = {stream: EventId.of_entry(events[-1][0].encode()) for stream, events in stored.items()}
    await until(lambda: client.newest() == last)
    assert client.seen() == stored, client.name
    assert "the server answered 5" not in "".join(client.tail.err)


async def list_both_nodes(fronts: Sequence[Front]) -> None:
    """Wait until each node lists itself and the one of the other version."""
    async with http_client() as client:
        for front in fronts:

            async def both(url: str = f"{front.url}/v1/nodes") -> bool:
                return len((await client.get(url)).json()["nodes"]) >= 2

            await until(both)


@pytest.mark.parametrize("older_node", [True, False])
async def test_a_request_is_answered_by_a_worker_of_the_other_version(
    stage: Stage, fronts: tuple[Front, Front], old: Version, older_node: bool
) -> None:
    node, other = (old, NEW) if older_node else (NEW, old)
    front = fronts[0]
    await front.lead_to(await stage.node(node))
    later = await stage.node(other)
    await stage.worker(other, "recommendations", "4")
    path = "/v1/pets/recommendations/stream?userId=you"
    tail = await stage.run(node, "broadcaster", "tail", path, "--base-url", front.url)
    await tail.line('"type"')
    # Half-way through the answer, its reader has to change to a node of the worker's version.
    await front.lead_to(later, signal.SIGKILL)
    assert await tail.ended() == 0
    own = ("stream.live", "stream.at")  # a `tail` of the older version shows each of them
    events = [line for line in map(json.loads, tail.out) if line["type"] not in own]
    ids = [event["id"].partition(",")[0].removeprefix("recommendations=") for event in events]
    assert ids == [str(event.id) for event in events_of(stage.store, "recommendations")]
    assert events[-1]["type"] == "complete"
