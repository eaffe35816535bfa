"""The JSON Schemas of the pet store: its events fit, and the demo's documents have them."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from broadcaster import InvalidEventError, MemoryLog, Publisher
from broadcaster.commands.demo_access import CHANNELS
from broadcaster.commands.pet_store import package, schemas
from broadcaster.settings.schemas import Schemas
from tests.nodes import Raw, running
from tests.wait import http_client
from workers.inventory import Inventory
from workers.orders import Orders
from workers.recommendations import Recommendations
from workers.runner import Life

_EVENT = re.compile(r"event: (recommendation|complete)\ndata: (.*)\n")


def test_it_is_beside_this_package() -> None:
    assert package() == "workers"
    files = schemas("inventory")
    assert {type_: Path(file).name for type_, file in files.items()} == {
        "price-change": "price-change.json",
        "stock-change": "stock-change.json",
    }
    # The page's test event is a `message`, whatever its channel, and its data are anything.
    assert not any("message" in channel.schemas for channel in CHANNELS.values())
    assert schemas("nope") == {}


@pytest.mark.server
async def test_a_client_that_is_made_of_the_documents_knows_that_a_stock_is_a_number() -> None:
    async with (
        running("", log=MemoryLog(), channels=CHANNELS) as hub,
        http_client(base_url=hub.url) as http,
    ):
        document = (await http.get("/openapi.json")).json()
    found = document["components"]["schemas"]
    (data,) = [
        schema["properties"]["data"]["contentSchema"]
        for schema in found.values()
        if schema.get("properties", {}).get("event", {}).get("const") == "stock-change"
    ]
    stock = data if "properties" in data else found[data["$ref"].rpartition("/")[2]]
    assert stock["properties"]["newStock"] == {"type": "integer", "minimum": 0}


async def test_the_events_of_the_workers_fit(redis_url: str) -> None:
    async with Publisher(redis_url, channels=CHANNELS) as publisher:
        inventory, orders = Inventory(publisher, seed=1), Orders(publisher, seed=1, order_s=(0, 0))
        for _ in range(40):
            await inventory.step()
            await orders.step()
        with pytest.raises(InvalidEventError):
            await publisher.publish("inventory", type="stock-change", key="7", data={"newStock": 4})
        life = Life(rate=1000)
        recommending = asyncio.create_task(Recommendations(publisher).run(life))
        async with running(redis_url, channels=CHANNELS) as hub:
            reader = await Raw.get(hub.port, "/v1/pets/recommendations/stream?userId=ann")
            await reader.rest()
        life.stop()
        await recommending
    found = _EVENT.findall(reader.body.decode())
    assert {type_ for type_, _ in found} == {"recommendation", "complete"}
    for type_, data in found:
        Schemas(CHANNELS).check("recommendations", type_, data)
