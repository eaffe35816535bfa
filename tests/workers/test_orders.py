from __future__ import annotations

import re
import time
from collections import Counter, defaultdict
from typing import Any

import msgpack
import orjson
import pytest

from broadcaster import Publisher
from tests.workers.conftest import StartWorker, await_events, check_coherence, events_of
from workers.orders import OPEN, STATUSES, Orders
from workers.store import PETS

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def check_orders(client: Any) -> tuple[int, int]:
    """Each order takes its steps in order; returns how many were shipped and cancelled."""
    steps: dict[str, list[str]] = defaultdict(list)
    for event in events_of(client, "orders"):
        data = orjson.loads(event.data)
        if event.type == "complete":
            shipped = ["trackingNumber"] if data["status"] == "shipped" else []
            assert list(data) == ["status", *shipped, "orderId"]
        else:
            assert event.type == "message"
            assert list(data) == ["status", "timestamp", "orderId"]
            assert TIMESTAMP.fullmatch(data["timestamp"])
        assert data["orderId"] == event.key
        steps[event.key].append(data["status"])
    for walked in steps.values():
        if walked[-1] == "shipped":
            assert walked[:-1] == list(STATUSES)
        else:
            walk = walked[:-1] if walked[-1] == "cancelled" else walked
            assert walk == list(STATUSES[: len(walk)])
            assert walk
    unfinished = {key for key, walk in steps.items() if walk[-1] in STATUSES}
    assert {key.decode() for key in client.hkeys(OPEN)} == unfinished
    ends = Counter(walk[-1] for walk in steps.values())
    return ends["shipped"], ends["cancelled"]


def check_stock(client: Any, shipped: int) -> None:
    """The pets missing from the stock are those that were shipped or that open orders hold."""
    changes = [orjson.loads(event.data) for event in events_of(client, "inventory")]
    taken = sum(change["oldStock"] - change["newStock"] for change in changes)
    held = sum(client.get(key) == b"held" for key in client.keys("{inventory}:hold:*"))
    assert taken == shipped + held


async def test_orders_end_shipped_or_cancelled(publisher: Publisher, store: Any) -> None:
    orders = Orders(publisher, seed=3)
    published = sum([await orders.step() for _ in range(500)])
    assert published == store.xlen("orders")
    shipped, cancelled = check_orders(store)
    assert shipped > 50
    assert 1 <= cancelled < shipped / 3
    check_stock(store, shipped)
    check_coherence(store)


async def test_a_placed_order_takes_its_pet_at_once(publisher: Publisher, store: Any) -> None:
    await Orders(publisher).step()
    assert [event.type for event in events_of(store, "orders")] == ["message"]
    assert [event.type for event in events_of(store, "inventory")] == ["stock-change"]


async def test_an_order_without_a_pet_is_cancelled(publisher: Publisher, store: Any) -> None:
    for pet in PETS:
        store.hset(f"{{inventory}}:pet:{pet.id}", "stock", 0)
    orders = Orders(publisher, seed=3)
    for _ in range(50):
        await orders.step()
    shipped, cancelled = check_orders(store)
    assert shipped == 0
    assert cancelled > 5
    assert store.xlen("inventory") == 0


@pytest.mark.parametrize("between", ["order and pet", "sale and end"])
async def test_a_worker_that_dies_between_two_slots(
    publisher: Publisher, store: Any, monkeypatch: pytest.MonkeyPatch, between: str
) -> None:
    dying = Orders(publisher, seed=3)
    method = "hold" if between == "order and pet" else "close"
    original = getattr(dying._store, method)
    calls = 0

    async def die_at_times(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if method == "hold" and calls % 3 == 0:
            raise InterruptedError
        result = await original(*args, **kwargs)
        if method == "close" and calls % 2 == 0:
            raise InterruptedError
        return result

    monkeypatch.setattr(dying._store, method, die_at_times)
    for _ in range(400):
        try:
            await dying.step()
        except InterruptedError:
            continue
    shipped, _ = check_orders(store)
    assert shipped > 10
    sold = sum(store.get(key) == b"sold" for key in store.keys("{inventory}:hold:*"))
    check_stock(store, sold)
    assert sold - shipped <= len(store.hkeys(OPEN))
    check_coherence(store)


def test_open_orders_survive_kill_and_restart(
    redis_url: str, store: Any, start_worker: StartWorker
) -> None:
    worker = start_worker(redis_url, "orders", "--rate", "300")
    other = start_worker(redis_url, "orders", "--rate", "300")
    for _ in range(2):
        await_events(store, "orders", 100)
        worker.kill()
        worker = start_worker(redis_url, "orders", "--rate", "300")
    await_events(store, "orders", 100)
    assert worker.stop() == 0
    assert other.stop() == 0
    shipped, _ = check_orders(store)
    assert shipped > 20
    check_coherence(store)


@pytest.mark.parametrize("stocked", [True, False], ids=["shipped or cancelled", "without a pet"])
async def test_an_order_takes_the_time_that_it_should(
    publisher: Publisher, store: Any, monkeypatch: pytest.MonkeyPatch, stocked: bool
) -> None:
    now_s = 1_800_000_000.0
    monkeypatch.setattr(time, "time", lambda: now_s)
    monkeypatch.setattr(time, "time_ns", lambda: int(now_s * 1e9))
    if not stocked:
        for pet in PETS:
            store.hset(f"{{inventory}}:pet:{pet.id}", "stock", 0)
    orders = Orders(publisher, seed=5, order_s=(6, 13))
    began_s: dict[bytes, float] = {}
    took_s, ends = [], Counter[str]()
    for _ in range(600):
        took_a_step = await orders.step()
        now_s += 0.2
        if took_a_step:
            ((_, fields),) = store.xrevrange("orders", count=1)
            type_, key, data = msgpack.unpackb(fields[b"m"])
            began_s.setdefault(key, now_s)
            if type_ == "complete":
                took_s.append(now_s - began_s[key])
                ends[orjson.loads(data)["status"]] += 1
    assert ends.keys() == ({"shipped", "cancelled"} if stocked else {"cancelled"})
    assert len(took_s) > 50
    assert 5 <= min(took_s) < max(took_s) <= 15
    check_orders(store)
