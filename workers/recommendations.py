"""The recommendations worker: answers each request with several pets, the best one first.

`broadcaster.RunQueue` takes requests and takes over the runs of dead workers, and each `Run`
publishes a piece once. This module makes the pieces, and limits how many runs are answered at a
time.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from contextlib import suppress
from typing import Any, NamedTuple

import orjson

from broadcaster import BroadcasterError, Publisher, Run, RunLostError, RunQueue

from .runner import Life
from .store import PETS, Pet, Store

logger = logging.getLogger("workers")

CHANNEL = "recommendations"
PIECES = 5
_MAX_RUNS = 64
_WAIT_S = 0.5
_CLOSE_S = 1.0
_SPECIES = sorted({pet.species for pet in PETS})
_MAX_CENTS = max(pet.cents for pet in PETS)
_PLENTY = 10


class Recommendation(NamedTuple):
    """A pet, how well it suits the user (0 to 1), and why."""

    pet: Pet
    score: float
    reason: str


class Recommendations:
    """Publishes `recommendation` events and a `complete` for each request."""

    def __init__(self, publisher: Publisher, *, takeover_s: float = 15.0) -> None:
        """Create the queue. No request is taken before `run`.

        Args:
            publisher: publishes the events. The caller closes it.
            takeover_s: seconds after which the requests of a silent worker go to another one.
        """
        self._store = Store(publisher)
        self._queue = RunQueue(publisher, CHANNEL, takeover_s=takeover_s)
        self._keep_s = takeover_s / 4
        self._runs: set[asyncio.Task[None]] = set()

    async def run(self, life: Life) -> None:
        """Answer requests until the life is over. Finish begun ones, unless asked to stop."""
        keeping = asyncio.create_task(self._keep(life))
        try:
            while not life.over:
                await self._take(life)
            if self._runs and not life.stopping:
                await asyncio.wait(self._runs)
        finally:
            keeping.cancel()
            for task in self._runs:
                task.cancel()
            await asyncio.gather(keeping, *self._runs, return_exceptions=True)
            # Hand our requests over now. Without this, other workers take them over later.
            with suppress(TimeoutError, BroadcasterError):
                async with asyncio.timeout(_CLOSE_S):
                    await self._queue.aclose()

    async def _take(self, life: Life) -> None:
        if len(self._runs) >= _MAX_RUNS:
            await asyncio.wait(self._runs, return_when=asyncio.FIRST_COMPLETED)
        limit = _MAX_RUNS - len(self._runs)
        runs = await life.patiently(lambda: self._queue.take(limit, wait_s=_WAIT_S))
        for run in runs or ():
            task = asyncio.create_task(self._answer(run, life))
            self._runs.add(task)
            task.add_done_callback(self._runs.discard)

    async def _keep(self, life: Life) -> None:
        """Keep our runs, so that no other worker takes them over while a slow run is silent."""
        while not life.stopping:
            await life.sleep(self._keep_s)
            await life.patiently(self._queue.keep)

    async def _answer(self, run: Run, life: Life) -> None:
        try:
            while len(run.pieces) < PIECES and not life.stopping:
                await self._publish_piece(run, life)
                await life.sleep(1 / life.rate)
            if life.stopping:
                return
            took_ms = round(run.age_s * 1_000)
            data = {"total": len(run.pieces), "processingTime": took_ms}
            if await life.patiently(lambda: run.complete(data=data)):
                life.announced += 1
        except RunLostError as error:
            logger.info("%s: left to it", error)
            self._queue.release(run)
        except Exception:
            logger.exception("run %s failed; it is tried again later", run.id)
            self._queue.release(run)

    async def _publish_piece(self, run: Run, life: Life) -> None:
        pets = await life.patiently(self._store.pets)
        if pets is None:
            return
        done = {_pet_of(type_, data) for type_, data in run.pieces}
        left = [pet for pet in pets if pet.id not in done]
        best = max((recommendation(run.key, pet) for pet in left), key=lambda one: one.score)
        data: dict[str, Any] = {
            "petId": best.pet.id,
            "name": best.pet.name,
            "score": best.score,
            "reason": best.reason,
        }
        before = len(run.pieces)
        await life.patiently(lambda: run.publish(type="recommendation", data=data))
        life.announced += len(run.pieces) - before


def _pet_of(type_: str, data: bytes) -> str:
    """Return the pet of a piece. Workers of an earlier version kept only its name, as the data."""
    return str(orjson.loads(data)["petId"]) if type_ else data.decode()


def recommendation(user_id: str, pet: Pet) -> Recommendation:
    """Rate a pet for a user. The user's taste and budget are derived from the user's id."""
    taste = hashlib.blake2b(user_id.encode(), digest_size=len(_SPECIES) + 1).digest()
    liking = taste[_SPECIES.index(pet.species)] / 255
    budget_cents = _MAX_CENTS * (taste[-1] + 1) / 256
    affordable = min(1.0, budget_cents / pet.cents)
    available = min(1.0, pet.stock / _PLENTY)
    score = round(0.6 * liking + 0.25 * affordable + 0.15 * available, 3)
    return Recommendation(pet, score, _reason(pet, liking, affordable))


def _reason(pet: Pet, liking: float, affordable: float) -> str:
    if not pet.stock:
        return f"{pet.name} is out of stock, but worth waiting for"
    if liking > 0.6:
        return f"you seem to like a {pet.species}"
    if affordable == 1.0:
        return f"{pet.name} fits your budget"
    return f"only {pet.stock} left" if pet.stock < _PLENTY else "worth a look"
