from __future__ import annotations

import asyncio
from typing import Any

from broadcaster import Publisher
from tests.workers.conftest import check_coherence, events_of
from workers.store import PETS, Store

PET = PETS[0]


def test_the_catalogue() -> None:
    assert len({pet.id for pet in PETS}) == len(PETS)
    assert all(int(pet.id, 16) and len(pet.id) == 8 for pet in PETS)


async def test_changes_show_in_events_and_state(publisher: Publisher, store: Any) -> None:
    shop = Store(publisher)
    await shop.change_stock(PET.id, lambda stock: stock - 1)
    await shop.change_price(PET.id, lambda cents: 1895)
    events = events_of(store, "inventory")
    assert [(event.type, event.key, event.data) for event in events] == [
        ("stock-change", PET.id, b'{"petId":"019b4132","oldStock":12,"newStock":11}'),
        ("price-change", PET.id, b'{"petId":"019b4132","oldPrice":489.0,"newPrice":18.95}'),
    ]
    assert (await shop.pets())[0] == PET._replace(stock=11, cents=1895)


async def test_many_at_a_time_stay_coherent(publisher: Publisher, store: Any) -> None:
    shop = Store(publisher)
    changes = [shop.change_stock(PET.id, lambda stock: stock + 1) for _ in range(20)]
    orders = [shop.hold(f"order{n}", PET.id) for n in range(20)]
    await asyncio.gather(*changes, *orders)
    check_coherence(store)
    assert store.xlen("inventory") == 40


async def test_an_order_takes_its_pet_once(publisher: Publisher, store: Any) -> None:
    shop = Store(publisher)
    assert await shop.hold("order", PET.id)
    assert await shop.hold("order", PET.id)
    assert (await shop.pets())[0].stock == PET.stock - 1
    await shop.close("order", PET.id, give_back=True)
    await shop.close("order", PET.id, give_back=True)
    assert not await shop.hold("order", PET.id)
    assert (await shop.pets())[0].stock == PET.stock
    check_coherence(store)


async def test_a_sold_pet_stays_sold(publisher: Publisher) -> None:
    shop = Store(publisher)
    assert await shop.hold("order", PET.id)
    await shop.close("order", PET.id, give_back=False)
    assert await shop.hold("order", PET.id)  # asked by a worker that takes the order over
    assert (await shop.pets())[0].stock == PET.stock - 1


async def test_there_is_no_pet_below_zero(publisher: Publisher, store: Any) -> None:
    shop = Store(publisher)
    await shop.change_stock(PET.id, lambda stock: 0)
    assert not await shop.hold("order", PET.id)
    await shop.change_stock(PET.id, lambda stock: 5)
    assert not await shop.hold("order", PET.id)  # refused is refused, whichever worker asks
    await shop.close("order", PET.id, give_back=True)
    assert (await shop.pets())[0].stock == 5
    check_coherence(store)
