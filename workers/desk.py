"""The desk: does what a page asks the pet store for. Only the demo has one.

A page can't write to Redis. It publishes an event to the channel `desk` over HTTP, and this worker
reads the stream of that channel.

| type           | data                  | what it does                                        |
|----------------|-----------------------|-----------------------------------------------------|
| `place-order`  | `orderId`, `petId`    | places the order, which the orders worker moves on  |
| `change-stock` | `petId`, `by`         | changes the stock of a pet by a few                 |

The desk begins at the end of the stream. What was asked while it was away is not done.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from typing import Any

import msgpack
import orjson

from broadcaster import Publisher

from .orders import OPEN, Orders
from .runner import Life
from .store import PETS, Store

logger = logging.getLogger("workers")

STREAM = "desk"
_MOST_BY = 100
_MOST_STOCK = 9_999
_MOST = 20  # requests that are read at once
_CLOCKS_MS = 60_000
_ORDER = re.compile(r"[0-9a-f]{11,12}[0-9a-f]{4}", re.ASCII)
_PETS = frozenset(pet.id for pet in PETS)


class Desk:
    """Reads the stream `desk`, and does what its entries ask for."""

    def __init__(self, publisher: Publisher) -> None:
        """Use a publisher. The caller closes it."""
        self._publisher = publisher
        self._store = Store(publisher)
        self._orders = Orders(publisher)
        self._after = b""

    async def run(self, life: Life) -> None:
        """Look at each tick for what is asked, until the life is over."""
        await life.patiently(self.begin)
        await life.repeat(self.step)

    async def begin(self) -> None:
        """Begin after the newest entry. Raises a `BackendUnavailableError`: Redis is away."""
        with self._publisher.commands() as redis:
            newest = await redis.xrevrange(STREAM, count=1)
        self._after = newest[0][0] if newest else b"0"

    async def step(self) -> bool:
        """Do what was asked since the last call. Return True if anything was.

        Raises:
            BackendUnavailableError: Redis is away. An entry may be done or not.
        """
        with self._publisher.commands() as redis:
            found = await redis.xrange(STREAM, min=b"(" + self._after, count=_MOST)
        for id_, fields in found:
            self._after = id_  # before it is done: what fails is not tried again
            if not await self._do(*_asked(fields)):
                logger.info("the entry %s of the desk asks for nothing that can be done", id_)
        return bool(found)

    async def _do(self, type_: Any, data: Mapping[str, Any]) -> bool:
        """Do what is asked, if it can be done. Return True if it was."""
        pet_id = data.get("petId")
        if not isinstance(pet_id, str) or pet_id not in _PETS:
            return False
        if type_ == "place-order":
            return await self._place(data.get("orderId"), pet_id)
        by = data.get("by")
        if type_ != "change-stock" or not isinstance(by, int) or not 0 < abs(by) <= _MOST_BY:
            return False
        await self._store.change_stock(pet_id, lambda stock: _bounded(stock + by))
        return True

    async def _place(self, order_id: Any, pet_id: str) -> bool:
        if not is_new_order(order_id):
            return False
        with self._publisher.commands() as redis:
            if await redis.hexists(OPEN, order_id):
                return False
        await self._orders.place(order_id, pet_id)
        return True


def is_new_order(order_id: Any) -> bool:
    """Return True if this can be the id of an order that is placed now.

    The time in it decides how long the order takes, so it has to be of this minute.
    """
    if not isinstance(order_id, str) or not _ORDER.fullmatch(order_id):
        return False
    return abs(int(order_id[:-4], 16) - time.time() * 1000) < _CLOCKS_MS


def _bounded(stock: int) -> int:
    return max(0, min(_MOST_STOCK, stock))


def _asked(fields: Mapping[bytes, bytes]) -> tuple[Any, dict[str, Any]]:
    """Return the type and the data of an entry in either form; no data if it has no object."""
    try:
        if packed := fields.get(b"m"):
            type_, _, data = msgpack.unpackb(packed)
        else:
            type_, data = fields.get(b"type", b"").decode(), fields.get(b"data", b"")
        value = orjson.loads(data) if isinstance(data, str | bytes) else data
    except ValueError:
        return "", {}
    return type_, value if isinstance(value, dict) else {}
