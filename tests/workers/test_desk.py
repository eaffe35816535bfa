"""The desk does what a page of the demo asks for, and nothing else."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest

from broadcaster import Publisher
from tests.channels import named
from tests.wait import until_sync
from tests.workers.conftest import StartWorker, check_coherence, events_of
from workers.desk import Desk, is_new_order
from workers.orders import OPEN, Orders
from workers.store import PETS

PET = PETS[0]


def order_id(ago_s: float = 0) -> str:
    return f"{int((time.time() - ago_s) * 1000):x}0007"


@pytest.fixture
async def desk(publisher: Publisher) -> Desk:
    made = Desk(publisher)
    await made.begin()
    return made


async def ask(client: Any, type_: str, **data: object) -> None:
    """Publish as the hub does for the page."""
    async with Publisher(client, channels=named("desk")) as publisher:
        await publisher.publish("desk", type=type_, data=data)


async def test_an_order_is_placed_once_and_goes_its_way(
    publisher: Publisher, client: Any, store: Any, desk: Desk
) -> None:
    id_ = order_id()
    await ask(client, "place-order", orderId=id_, petId=PET.id)
    await ask(client, "place-order", orderId=id_, petId=PET.id)
    assert await desk.step()
    assert orjson.loads(store.hget(OPEN, id_)) == ["payment_processing", PET.id, None]
    (placed,) = events_of(store, "orders")
    assert (placed.key, orjson.loads(placed.data)["orderId"]) == (id_, id_)
    assert store.get(f"{{inventory}}:hold:{id_}") == b"held"
    orders = Orders(publisher, seed=1)
    while store.hexists(OPEN, id_):
        await orders.step()
    steps = [orjson.loads(e.data)["status"] for e in events_of(store, "orders") if e.key == id_]
    assert steps[-1] == "shipped"
    check_coherence(store)


async def test_a_stock_is_changed_and_the_chain_holds(client: Any, store: Any, desk: Desk) -> None:
    for by in (3, -1, -100):
        await ask(client, "change-stock", petId=PET.id, by=by)
    assert await desk.step()
    changes = [orjson.loads(event.data) for event in events_of(store, "inventory")]
    assert [change["newStock"] for change in changes] == [PET.stock + 3, PET.stock + 2, 0]
    check_coherence(store)
    assert not await desk.step()


@pytest.mark.parametrize(
    ("type_", "data"),
    [
        ("change-stock", {"petId": "none", "by": 1}),
        ("change-stock", {"petId": PET.id, "by": 1_000}),
        ("change-stock", {"petId": PET.id, "by": 0}),
        ("change-stock", {"petId": PET.id, "by": "1"}),
        ("change-stock", {"petId": ["x"], "by": 1}),
        ("place-order", {"petId": PET.id, "orderId": 7}),
        ("place-order", {"petId": PET.id, "orderId": "f" * 30}),
        ("other", {"petId": PET.id, "by": 1}),
    ],
)
async def test_what_can_not_be_done_is_passed_over(
    client: Any, store: Any, desk: Desk, type_: str, data: dict[str, object]
) -> None:
    await ask(client, type_, **data)
    await ask(client, "change-stock", petId=PET.id, by=1)
    assert await desk.step()
    assert len(events_of(store, "inventory")) == 1
    assert not store.exists("orders")


async def test_entries_that_redis_cli_has_written_are_read(store: Any, desk: Desk) -> None:
    store.xadd("desk", {"type": "change-stock", "data": f'{{"petId":"{PET.id}","by":1}}'})
    store.xadd("desk", {"data": "no JSON"})
    store.xadd("desk", {"m": b"\xc1"})
    assert await desk.step()
    assert len(events_of(store, "inventory")) == 1


def test_an_order_is_of_this_minute() -> None:
    assert is_new_order(order_id())
    assert not is_new_order(order_id(ago_s=100))
    assert not is_new_order(order_id(ago_s=-100))


def test_it_begins_at_the_end_of_the_stream(
    start_worker: StartWorker, redis_url: str, store: Any
) -> None:
    data = f'{{"petId":"{PET.id}","by":1}}'
    store.xadd("desk", {"type": "change-stock", "data": data})
    worker = start_worker(redis_url, "desk", "--rate", "50")
    until_sync(lambda: "started" in worker.said())

    def is_done() -> bool:
        store.xadd("desk", {"type": "change-stock", "data": data})
        return bool(store.exists("inventory"))

    until_sync(is_done)
    first = orjson.loads(events_of(store, "inventory")[0].data)
    assert first["oldStock"] == PET.stock
    assert worker.stop() == 0
    assert store.xlen("inventory") < store.xlen("desk")
