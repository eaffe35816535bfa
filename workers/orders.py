"""The orders worker: places orders and moves each to its end.

| status of the order    | next step                                               |
|------------------------|---------------------------------------------------------|
| (nothing)              | `payment_processing`; takes its pet out of stock        |
| `payment_processing`   | `payment_confirmed`; cancelled if there was no pet      |
| `payment_confirmed`    | `preparing_shipment`                                    |
| `preparing_shipment`   | shipped                                                 |
| any of them            | cancelled, if that is its fate; the pet comes back      |

A step has no type of its own, so that a browser gives it to `onmessage`. The end is a `complete`.

The status of an order is stored in Redis, in one `MULTI` with its event. The worker itself stores
nothing. So orders survive its restart, and several workers share them. On a Cluster, orders and
inventory lie in two slots. So a change of the stock is a separate step, which comes before the
order moves on. `Store` makes it once, however often it is asked.
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
"""The hash of open orders. It maps an order's id to `[status, pet id, status where cancelled]`."""
STATUSES = ("payment_processing", "payment_confirmed", "preparing_shipment")
_CANCELLED_SHARE = 0.1
_PLACED_SHARE = 0.3
_MAX_OPEN = 12


class Orders:
    """Publishes the steps of orders to `orders`, and what they take to `inventory`."""

    def __init__(
        self,
        publisher: Publisher,
        *,
        seed: int | None = None,
        order_s: tuple[float, float] = (0, 0),
    ) -> None:
        """Use a publisher.

        Args:
            publisher: publishes the events. The caller closes it.
            seed: makes the choices repeatable.
            order_s: the least and the most seconds from an order's first step to its last one.
        """
        self._publisher = publisher
        self._store = Store(publisher)
        self._random = random.Random(seed)
        self._order_s = order_s

    async def run(self, life: Life) -> None:
        """Take one step of a random order at each tick until the life is over."""
        await life.repeat(self.step)

    async def step(self) -> bool:
        """Place an order or move one on. Return True if an event was published.

        Raises:
            BackendUnavailableError: Redis is away. The step and its event may be written or not.
        """
        with self._publisher.commands() as redis:
            open_orders = sorted(await redis.hkeys(OPEN))
            stored = await redis.hmget(OPEN, open_orders) if open_orders else []
        due = [key for key, at in zip(open_orders, stored, strict=True) if self._is_due(key, at)]
        # A paced order takes its step in time, so it goes before a new order.
        may_place = self._random.random() < _PLACED_SHARE and not (due and any(self._order_s))
        if len(open_orders) < _MAX_OPEN and (may_place or not due):
            # The id contains the time, so that a worker with the same seed does not repeat an id.
            order_id = f"{time.time_ns() // 1_000_000:x}{self._random.getrandbits(16):04x}"
            pet_id = self._random.choice(PETS).id
            cancelled = self._random.random() < _CANCELLED_SHARE
            fate = self._random.choice(STATUSES) if cancelled else None
            await self.place(order_id, pet_id, fate)
            return True
        return bool(due) and await self._advance(self._random.choice(due).decode())

    def _is_due(self, key: bytes, stored: bytes | None) -> bool:
        """Return True if it is time for an order's next step."""
        if stored is None:  # another worker completed it meanwhile
            return False
        status, _, fate = orjson.loads(stored)
        last = STATUSES.index(fate or STATUSES[-1]) + 1
        return self._has_aged(key.decode(), (STATUSES.index(status) + 1) / last)

    def _has_aged(self, order_id: str, share: float) -> bool:
        """Return True if a share of the order's time has passed. All workers compute the same."""
        placed_ms, drawn = int(order_id[:-4], 16), int(order_id[-4:], 16) / 0xFFFF
        least_s, most_s = self._order_s
        takes_s = least_s + drawn * (most_s - least_s)
        return time.time() * 1000 >= placed_ms + takes_s * 1000 * share

    async def place(self, order_id: str, pet_id: str, fate: str | None = None) -> None:
        """Place an order that does not exist yet.

        Args:
            order_id: the time in milliseconds and 16 drawn bits, in hexadecimal digits.
            pet_id: the pet that is ordered.
            fate: the status in which it is cancelled; None if it is shipped.

        Raises:
            BackendUnavailableError: Redis is away. The order may be placed or not.
        """
        async with self._publisher.transaction() as transaction:
            _go_to(transaction, order_id, STATUSES[0], pet_id, fate)
        await self._store.hold(order_id, pet_id)

    async def _advance(self, order_id: str) -> bool:
        with self._publisher.commands() as redis:
            stored = await redis.hget(OPEN, order_id)
        if stored is None:  # another worker completed it meanwhile
            return False
        status, pet_id, fate = orjson.loads(stored)
        # Repeated at each step, because a worker may have died between placing and holding.
        shippable = await self._store.hold(order_id, pet_id) and fate != status
        last = not shippable or status == STATUSES[-1]
        early = last and not self._has_aged(order_id, 1.0)  # there was no pet
        if last:
            await self._store.close(order_id, pet_id, give_back=not shippable)
        try:
            async with self._publisher.transaction(OPEN) as transaction:
                if await transaction.redis.hget(OPEN, order_id) != stored:
                    return False
                if early:
                    transaction.multi()
                    transaction.redis.hset(OPEN, order_id, orjson.dumps([status, pet_id, status]))
                elif last:
                    _complete(transaction, order_id, shipped=shippable)
                else:
                    following = STATUSES[STATUSES.index(status) + 1]
                    _go_to(transaction, order_id, following, pet_id, fate)
        except ConflictError:  # another worker has moved an order, perhaps this one
            return False
        return not early


def _go_to(
    transaction: Transaction, order_id: str, status: str, pet_id: str, fate: str | None
) -> None:
    # The key is the order's id, but a key is not sent to clients. So the data has the id too.
    data = {"status": status, "timestamp": _timestamp(), "orderId": order_id}
    transaction.publish(CHANNEL, key=order_id, data=data)
    transaction.redis.hset(OPEN, order_id, orjson.dumps([status, pet_id, fate]))


def _complete(transaction: Transaction, order_id: str, *, shipped: bool) -> None:
    data = {"status": "shipped" if shipped else "cancelled"}
    if shipped:
        data["trackingNumber"] = f"PS{int(order_id, 16) % 10**10:010d}"
    data["orderId"] = order_id
    transaction.publish(CHANNEL, type="complete", key=order_id, data=data)
    transaction.redis.hdel(OPEN, order_id)


def _timestamp() -> str:
    """Return the present time as RFC 3339, in UTC with whole seconds."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
