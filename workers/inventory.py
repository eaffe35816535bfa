"""The inventory worker: sells, restocks and reprices pets. Several may run at the same time."""

from __future__ import annotations

import random

from broadcaster import Publisher

from .runner import Life
from .store import PETS, Store

_STOCK_SHARE = 0.75  # of the events; the others are price changes
_LOW_STOCK = 2
_RESTOCK_SHARE = 0.1


class Inventory:
    """Publishes `stock-change` and `price-change` to `inventory`, one by one."""

    def __init__(self, publisher: Publisher, *, seed: int | None = None) -> None:
        """Use a publisher; `seed` makes the choices repeatable."""
        self._store = Store(publisher)
        self._random = random.Random(seed)

    async def run(self, life: Life) -> None:
        """Publish one change at each tick until the life is over."""
        await life.repeat(self.step)

    async def step(self) -> bool:
        """Publish one change. Return True.

        Raises:
            BackendUnavailableError: Redis is away. The change and its event may be written or not.
        """
        pet = self._random.choice(PETS)
        if self._random.random() < _STOCK_SHARE:
            await self._store.change_stock(pet.id, self._new_stock)
        else:
            await self._store.change_price(pet.id, lambda cents: self._new_cents(pet.cents, cents))
        return True

    def _new_stock(self, stock: int) -> int:
        if stock <= _LOW_STOCK or self._random.random() < _RESTOCK_SHARE:
            return stock + self._random.randint(5, 20)
        return stock - self._random.randint(1, min(3, stock))

    def _new_cents(self, list_cents: int, cents: int) -> int:
        """Return a price near the list price, different from the present price."""
        new_cents = round(list_cents * self._random.uniform(0.8, 1.2))
        return new_cents if new_cents != cents else cents + 1
