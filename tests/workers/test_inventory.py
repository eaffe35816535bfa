from __future__ import annotations

from typing import Any

from broadcaster import Publisher
from tests.workers.conftest import StartWorker, await_events, check_coherence, events_of
from workers.inventory import Inventory


async def test_it_changes_stocks_and_prices_repeatably(publisher: Publisher, store: Any) -> None:
    seen = []
    for _ in range(2):
        store.flushall()
        inventory = Inventory(publisher, seed=7)
        for _ in range(200):
            assert await inventory.step()
        check_coherence(store)
        seen.append([event[1:] for event in events_of(store, "inventory")])
    assert seen[0] == seen[1]
    assert {event[0] for event in seen[0]} == {"stock-change", "price-change"}


def test_several_at_once_and_killed_and_restarted(
    redis_url: str, store: Any, start_worker: StartWorker
) -> None:
    fast = ("--rate", "300", "--seed", "1")
    doomed = start_worker(redis_url, "inventory", *fast)
    others = [start_worker(redis_url, name, *fast) for name in ("inventory", "orders")]
    for _ in range(2):
        await_events(store, "inventory", 150)
        doomed.kill()
        doomed = start_worker(redis_url, "inventory", *fast)
    await_events(store, "inventory", 150)
    assert [worker.stop() for worker in (doomed, *others)] == [0, 0, 0]
    check_coherence(store)
