"""The pets: a fixed catalogue, with stocks and prices in Redis.

A change reads under `WATCH`, then writes in one `MULTI` with its event. So for each pet, an event's
old value is the new value of the event before it, even if several workers change it or one is
killed. All keys have the hash tag `{inventory}`, so on Cluster they lie in the stream's slot.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar

from broadcaster import ConflictError, Publisher

CHANNEL = "inventory"
_CLOSED_S = 24 * 3_600
_T = TypeVar("_T")


class Pet(NamedTuple):
    """A pet, as in the catalogue or with its present stock and price.

    Attributes:
        id: eight hexadecimal digits; the key of its events.
        stock: number of pets in stock.
        cents: price in cents.
    """

    id: str
    name: str
    species: str
    stock: int
    cents: int


PETS = (
    Pet("019b4132", "Biscuit", "dog", 12, 48_900),
    Pet("01a7c0de", "Clover", "rabbit", 20, 4_950),
    Pet("01b2f4e8", "Domino", "cat", 15, 21_500),
    Pet("01c9d351", "Ember", "gecko", 18, 6_425),
    Pet("01d40b77", "Fig", "hamster", 30, 1_895),
    Pet("01e86a2c", "Ginger", "cat", 10, 26_000),
    Pet("01f15e90", "Hazel", "dog", 8, 61_250),
    Pet("02038cb4", "Inky", "fish", 60, 799),
    Pet("0211d7fa", "Juniper", "parrot", 6, 34_999),
    Pet("022e9053", "Kiwi", "parrot", 9, 18_750),
    Pet("0237b61e", "Lotus", "turtle", 14, 8_900),
    Pet("0244fca9", "Mochi", "hamster", 25, 2_150),
)
"""The catalogue. A pet has these values until Redis has others."""
_BY_ID = {pet.id: pet for pet in PETS}


class Store:
    """The present stocks and prices. Several stores may work on the same Redis.

    Every method may be called again after a `BackendUnavailableError`, because it reads before it
    writes. An order takes its pet once.
    """

    def __init__(self, publisher: Publisher) -> None:
        """Use a publisher for both events and state."""
        self._publisher = publisher

    async def pets(self) -> list[Pet]:
        """Return all pets with their present stock and price.

        Raises:
            BackendUnavailableError: Redis is away.
        """
        with self._publisher.commands() as redis:
            pipe = redis.pipeline(transaction=False)
            for pet in PETS:
                pipe.hmget(_key(pet.id), "stock", "cents")
            rows = await pipe.execute()
        return [_now(pet, values) for pet, values in zip(PETS, rows, strict=True)]

    async def change_stock(self, pet_id: str, decide: Callable[[int], int]) -> None:
        """Set a stock and publish a `stock-change`.

        Args:
            pet_id: id of the pet.
            decide: returns the new stock for the present stock. May be called several times.

        Raises:
            BackendUnavailableError: Redis is away.
        """

        async def attempt() -> None:
            async with self._publisher.transaction(_key(pet_id)) as transaction:
                old = await _read(transaction.redis, pet_id)
                _write_stock(transaction, old, decide(old.stock))

        await _retried(attempt)

    async def change_price(self, pet_id: str, decide: Callable[[int], int]) -> None:
        """Set a price and publish a `price-change`. As `change_stock`, but in cents."""

        async def attempt() -> None:
            async with self._publisher.transaction(_key(pet_id)) as transaction:
                old = await _read(transaction.redis, pet_id)
                new_cents = decide(old.cents)
                # A quotient of whole cents prints without noise: 1895 / 100 is 18.95.
                data = {"petId": pet_id, "oldPrice": old.cents / 100, "newPrice": new_cents / 100}
                transaction.publish(CHANNEL, type="price-change", key=pet_id, data=data)
                transaction.redis.hset(_key(pet_id), "cents", new_cents)

        await _retried(attempt)

    async def hold(self, order_id: str, pet_id: str) -> bool:
        """Take a pet out of stock for an order, once.

        Returns:
            True if the order holds the pet or has sold it. False if there was none in stock at the
            first call, or if the pet was given back.

        Raises:
            BackendUnavailableError: Redis is away.
        """
        holding = _holding(order_id)

        async def attempt() -> bool:
            async with self._publisher.transaction(_key(pet_id), holding) as transaction:
                state = await transaction.redis.get(holding)
                if state is not None:
                    return state in (b"held", b"sold")
                old = await _read(transaction.redis, pet_id)
                transaction.multi()
                if old.stock > 0:
                    _write_stock(transaction, old, old.stock - 1)
                    transaction.redis.set(holding, "held")
                else:
                    # Stored, so that another worker decides the same for this order.
                    transaction.redis.set(holding, "refused", ex=_CLOSED_S)
                return old.stock > 0

        return await _retried(attempt)

    async def close(self, order_id: str, pet_id: str, *, give_back: bool) -> None:
        """End the hold of an order, once: the pet is sold, or comes back into stock.

        Raises:
            BackendUnavailableError: Redis is away.
        """
        holding = _holding(order_id)

        async def attempt() -> None:
            async with self._publisher.transaction(_key(pet_id), holding) as transaction:
                state = await transaction.redis.get(holding)
                old = await _read(transaction.redis, pet_id)
                transaction.multi()
                if give_back and state == b"held":
                    _write_stock(transaction, old, old.stock + 1)
                # Kept for a day, so that a worker that is late can't hold the pet again.
                transaction.redis.set(holding, "returned" if give_back else "sold", ex=_CLOSED_S)

        await _retried(attempt)


def _key(pet_id: str) -> str:
    return f"{{{CHANNEL}}}:pet:{pet_id}"


def _holding(order_id: str) -> str:
    return f"{{{CHANNEL}}}:hold:{order_id}"


def _now(pet: Pet, values: list[bytes | None]) -> Pet:
    stock, cents = values
    return pet._replace(
        stock=pet.stock if stock is None else int(stock),
        cents=pet.cents if cents is None else int(cents),
    )


async def _read(redis: Any, pet_id: str) -> Pet:
    return _now(_BY_ID[pet_id], await redis.hmget(_key(pet_id), "stock", "cents"))


def _write_stock(transaction: Any, old: Pet, stock: int) -> None:
    data = {"petId": old.id, "oldStock": old.stock, "newStock": stock}
    transaction.publish(CHANNEL, type="stock-change", key=old.id, data=data)
    transaction.redis.hset(_key(old.id), "stock", stock)


async def _retried(attempt: Callable[[], Awaitable[_T]]) -> _T:
    """Repeat an attempt until no other change conflicts. Each conflict means others progress."""
    while True:
        try:
            return await attempt()
        except ConflictError:
            continue
