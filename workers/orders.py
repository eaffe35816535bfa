"""The orders worker: places orders and walks each to its end.

| the order is at        | it goes to                                              |
|------------------------|---------------------------------------------------------|
| (nothing)              | `payment_processing`; takes its pet out of stock        |
| `payment_processing`   | `payment_confirmed`; cancelled if there was no pet      |
| `payment_confirmed`    | `preparing_shipment`                                    |
| `preparing_shipment`   | shipped                                                 |
| any of them            | cancelled, if that is its fate; the pet comes back      |

What an order is at is kept in Redis and written in one `MULTI` with the event; nothing is kept in
the worker. So orders survive its restart, and several workers share them. Orders and inventory are
two slots of a Cluster: what an order does to the stock is a step of its own, which `Store` does
once however often it is asked, and which is asked for before the order goes on.
"""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime

import orjson

from broadcaster import ConflictError, Publisher, Transaction

from .runner import Life
from .store import PETS, Store

CHANNEL = "orders"
OPEN = f"{{{CHANNEL}}}:open"
"""The hash of orders that are not complete: order id to `[status, pet id, where cancelled]`."""
STATUSES = ("payment_processing", "payment_confirmed", "preparing_shipment")
_CANCELLED_SHARE = 0.1
_PLACED_SHARE = 0.3
_MAX_OPEN = 12


class Orders:
    """Publishes the steps of orders to `orders`, and what they take to `inventory`."""

    def __init__(self, publisher: Publisher, *, seed: int | None = None) -> None:
        """Use a publisher; `seed` makes the choices repeatable."""
        self._publisher = publisher
        self._store = Store(publisher)
        self._random = random.Random(seed)

    async def run(self, life: Life) -> None:
        """Do a step of some order at each tick until the life is over."""
        await life.repeat(self.step)

    async def step(self) -> bool:
        """Place an order or move one on; returns whether an event was published.

        Raises:
            BackendUnavailableError: Redis is away; the step may be written with its event.
        """
        with self._publisher.commands() as redis:
            open_orders = sorted(await redis.hkeys(OPEN))
        may_place = len(open_orders) < _MAX_OPEN and self._random.random() < _PLACED_SHARE
        if may_place or not open_orders:
            await self._place()
            return True
        return await self._advance(self._random.choice(open_orders).decode())

    async def _place(self) -> None:
        # From the clock as well, so that a worker with the same seed makes no order twice.
        order_id = f"{time.time_ns() // 1_000_000:x}{self._random.getrandbits(16):04x}"
        pet_id = self._random.choice(PETS).id
        cancelled = self._random.random() < _CANCELLED_SHARE
        fate = self._random.choice(STATUSES) if cancelled else None
        async with self._publisher.transaction() as transaction:
            _go_to(transaction, order_id, STATUSES[0], pet_id, fate)
        await self._store.hold(order_id, pet_id)

    async def _advance(self, order_id: str) -> bool:
        with self._publisher.commands() as redis:
            stored = await redis.hget(OPEN, order_id)
        if stored is None:  # another worker completed it meanwhile
            return False
        status, pet_id, fate = orjson.loads(stored)
        # Asked again at each step: a worker may have died between the order and its pet.
        shippable = await self._store.hold(order_id, pet_id) and fate != status
        last = not shippable or status == STATUSES[-1]
        if last:
            await self._store.close(order_id, pet_id, give_back=not shippable)
        try:
            async with self._publisher.transaction(OPEN) as transaction:
                if await transaction.redis.hget(OPEN, order_id) != stored:
                    return False
                if last:
                    _complete(transaction, order_id, shipped=shippable)
                else:
                    following = STATUSES[STATUSES.index(status) + 1]
                    _go_to(transaction, order_id, following, pet_id, fate)
        except ConflictError:  # some order was moved meanwhile: perhaps this one
            return False
        return True


def _go_to(
    transaction: Transaction, order_id: str, status: str, pet_id: str, fate: str | None
) -> None:
    # The order's id is the key, which is not on the wire: whoever follows all orders needs it here.
    data = {"orderId": order_id, "status": status, "timestamp": _timestamp()}
    transaction.publish(CHANNEL, type="status", key=order_id, data=data)
    transaction.redis.hset(OPEN, order_id, orjson.dumps([status, pet_id, fate]))


def _complete(transaction: Transaction, order_id: str, *, shipped: bool) -> None:
    data = {"orderId": order_id, "status": "cancelled"}
    if shipped:
        data["status"] = "shipped"
        data["trackingNumber"] = f"PS{int(order_id, 16) % 10**10:010d}"
    transaction.publish(CHANNEL, type="complete", key=order_id, data=data)
    transaction.redis.hdel(OPEN, order_id)


def _timestamp() -> str:
    """Now, as RFC 3339 in UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
