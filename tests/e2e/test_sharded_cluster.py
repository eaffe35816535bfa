"""A sharded channel on a real Cluster: on all masters, and whole when one of them dies."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from broadcaster import BackendUnavailableError, Channel, Publisher
from tests import ha
from tests.nodes import Raw, events, running, told
from tests.wait import until

SHARDS = 8
KEYS = [f"t{number}" for number in range(24)]
TICKETS = Channel(name="tickets", path="/v1/tickets/stream", shards=SHARDS)


class Producer:
    """Publishes numbers under each key; an attempt that fails is not made again.

    Attributes:
        stored: the numbers that were acknowledged, in order, by key.
    """

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._number = 0
        self.stored: dict[str, list[int]] = defaultdict(list)

    async def round(self) -> bool:
        """Publish one event for each key. Return True if all were acknowledged."""
        self._number += 1
        return all(await asyncio.gather(*(self._publish(key) for key in KEYS)))

    def acknowledged_in(self, seen: dict[str, list[int]]) -> bool:
        """Return True if all that was acknowledged has been seen."""
        return all(set(numbers) <= set(seen[key]) for key, numbers in self.stored.items())

    async def _publish(self, key: str) -> bool:
        number = self._number
        try:
            await self._publisher.publish("tickets", key=key, data=f"{key} {number}")
        except BackendUnavailableError:
            return False
        self.stored[key].append(number)
        return True


def by_key(lines: list[str]) -> dict[str, list[int]]:
    numbers: dict[str, list[int]] = defaultdict(list)
    for key, number in (line.split() for line in lines):
        numbers[key].append(int(number))
    return numbers


async def test_a_killed_master_of_some_shards_keeps_the_order_of_each_key() -> None:
    with ha.cluster() as topology:
        owners = [topology.owner(redis_key) for redis_key in TICKETS.streams.values()]
        assert len(set(owners)) == 3
        async with (
            Publisher(topology.url, channels=[TICKETS]) as publisher,
            running(topology.url, channels={"tickets": TICKETS}) as hub,
        ):
            producer = Producer(publisher)
            client = await Raw.get(hub.port, TICKETS.path)
            await client.until(b"stream.live")
            assert await producer.round()
            await client.told(len(KEYS))
            victim = owners[0]
            assert victim is not None
            victim.kill()
            await producer.round()
            await until(producer.round)
            await until(lambda: not hub.node.problems())
            assert await producer.round()
            # An event may be stored without an acknowledgement, so counting is not enough.
            while not producer.acknowledged_in(seen := by_key(told(client.body))):
                await client.told(len(told(client.body)) + 1)
            assert not [e for e in events(client.body) if e.event == "stream.reset"]
            assert all(seen[key] == sorted(set(seen[key])) for key in KEYS)
