"""Requests that publish with keys, while Redis fails over: none is lost or stored twice."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from itertools import chain, count, cycle
from typing import Any

import httpx
import pytest

from broadcaster import Channel, EmbeddedRedis, EventId
from broadcaster.core.entry import decode
from tests import ha
from tests.nodes import Running, running
from tests.wait import http_client, until
from tests.web.tokens.issuers import SECRET, token

logger = logging.getLogger(__name__)

Topology = ha.SentinelSet | ha.Cluster
SHARDS = 8  # which lie on all three masters
TICKETS = {1: Channel(name="tickets", path="/tickets"),
           SHARDS: Channel(name="tickets", path="/tickets", shards=SHARDS)}  # fmt: skip
EVENTS = 3  # of a request, mostly in different shards
POSTERS = 4
PATH = "/v1/channels/tickets/events"


class Posters:
    """Clients that publish through two nodes in turn. Each sends its request until it is answered.

    Attributes:
        answered: the ids of each request, by its number.
        refused: the number of attempts that failed.
    """

    def __init__(self, *nodes: Running) -> None:
        self.answered: dict[int, list[str]] = {}
        self.refused = 0
        self._urls = cycle([node.url for node in nodes])
        self._numbers = count()
        self._stopping = False

    async def __aenter__(self) -> Posters:
        self._http = http_client()
        self._tasks = [asyncio.create_task(self._work()) for _ in range(POSTERS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        await self._http.aclose()

    async def stop(self) -> None:
        """Let each client have its last answer."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def go_on(self) -> None:
        """Wait until requests are answered that were begun after this moment."""
        before = len(self.answered)
        await until(lambda: len(self.answered) >= before + 2 * POSTERS)

    async def post(self, number: int) -> list[str]:
        """Send a request until it is answered, each time through another node."""
        mine = token(sub="shop", broadcaster={"publish": ["tickets"]})
        headers = {"authorization": f"Bearer {mine}", "idempotency-key": f"request-{number}"}
        texts = [f"{number} {n}" for n in range(EVENTS)]
        events = [{"key": text, "data": text} for text in texts]
        while True:
            try:
                answer = await self._http.post(
                    next(self._urls) + PATH, json=events, headers=headers
                )
            except httpx.TransportError:
                answer = httpx.Response(503)
            if answer.status_code == 200:
                found: list[str] = answer.json()["ids"]
                return found
            assert answer.status_code == 503, answer.text
            self.refused += 1
            await asyncio.sleep(0.1)

    async def _work(self) -> None:
        while not self._stopping:
            number = next(self._numbers)
            self.answered[number] = await self.post(number)
            await asyncio.sleep(0.02)


@pytest.fixture(params=["sentinel", "cluster"])
def topology(request: pytest.FixtureRequest) -> Iterator[Topology]:
    """A Sentinel set, then a Cluster, of its own for each test."""
    with ha.sentinel_set() if request.param == "sentinel" else ha.cluster() as made:
        yield made


def retained(topology: Topology, channel: Channel) -> dict[str, list[tuple[str, str]]]:
    """The id and the data of each event that is stored, by stream."""
    found: dict[str, list[tuple[str, str]]] = {}
    for stream in channel.streams.values():
        owner = topology.owner(stream)
        assert owner
        rows = ha.ask(owner, "XRANGE", stream, "-", "+")
        made = (decode(EventId.of_entry(i), [*chain(*f.items())], 10_000) for i, f in rows)
        found[stream] = [(str(event.id), event.data.decode()) for event in made]
    return found


def answered(answers: dict[int, list[str]]) -> dict[str, str]:
    """The id in an answer, by the data of its event."""
    return {f"{number} {n}": id_ for number, ids in answers.items() for n, id_ in enumerate(ids)}


async def promoted(topology: Topology, stream: str, old: EmbeddedRedis) -> None:
    """Wait for the new master. Until the old one is none, it goes on to serve, and to lose all."""
    await until(lambda: topology.owner(stream) not in (None, old))
    await until(lambda: ha.role(old) != "master")


@pytest.mark.parametrize("how", ["killed", "exchanged"])
async def test_what_is_answered_is_stored_once_through_a_failover(
    topology: Topology, how: str
) -> None:
    channel = TICKETS[SHARDS if isinstance(topology, ha.Cluster) else 1]
    settings: dict[str, Any] = {"channels": {"tickets": channel}, "token_secrets": [SECRET]}
    async with (
        running(topology.url, **settings) as first,
        running(topology.url, **settings) as second,
        Posters(first, second) as posters,
    ):
        await posters.go_on()
        stream = next(iter(channel.streams.values()))
        old = topology.owner(stream)
        assert old
        before = answered(posters.answered)
        old.kill() if how == "killed" else topology.failover(old)
        await promoted(topology, stream, old)
        await posters.go_on()
        await posters.stop()
        assert posters.refused or how == "exchanged"

        stored = retained(topology, channel)
        _check_losses(channel, stored, answered(posters.answered), before)
        again = {number: await posters.post(number) for number in posters.answered}
        final = sorted(chain.from_iterable(retained(topology, channel).values()))
        assert final == sorted((id_, data) for data, id_ in answered(again).items())


def _check_losses(
    channel: Channel,
    stored: dict[str, list[tuple[str, str]]],
    ids: dict[str, str],
    before: dict[str, str],
) -> None:
    """What is answered and not stored was lost by Redis: the newest of what the old master had.

    Args:
        channel: that was published to.
        stored: by stream, after the failover.
        ids: of what was answered, by data, which is also the key.
        before: of what was answered before the failover.
    """
    kept = {data for events in stored.values() for _, data in events}
    lost = ids.keys() - kept
    logger.info("%d of %d events were lost by Redis", len(lost), len(ids))
    newest = dict[str, EventId]()
    for data in before.keys() & kept:
        (name,) = channel.streams_of([data])
        newest[name] = max(EventId.parse(before[data]), newest.get(name, EventId(0, 0)))
    for data in lost:
        (name,) = channel.streams_of([data])
        assert EventId.parse(ids[data]) > newest.get(name, EventId(0, 0)), data
