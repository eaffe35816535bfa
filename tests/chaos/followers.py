"""The clients of runs, in a process of their own, which takes commands as `tests.chaos.load` does.

python -m tests.chaos.followers SEED
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
import uvloop

from tests.chaos.follower import Follower, Places, ended, spread
from tests.chaos.load import obey
from tests.wait import until

_SETTLED_S = 30.0
_PER_S = 250
"""How many clients come in a second."""


class Followers:
    """Clients of runs, and what can be done to them. The methods are the commands."""

    def __init__(self, seed: int) -> None:
        self._places = Places(random=random.Random(seed))
        self._all: list[Follower] = []

    async def aim(self, nodes: list[list[Any]], pods: list[list[Any]]) -> dict[str, Any]:
        """Set the addresses for new connections."""
        self._places.nodes = [(host, port) for host, port in nodes]
        self._places.pods = [(host, port) for host, port in pods]
        return {}

    async def ask(self, kind: str, count: int, timeout_s: float) -> dict[str, Any]:
        """Add clients that ask for a run each, and wait until each knows its run.

        Returns:
            The runs.
        """
        added = [Follower(self._places, kind, f"{kind}-{n}") for n in range(count)]
        self._all += added
        spread([follower.start for follower in added], count / _PER_S)
        found = await self._until(lambda: sum(not f.run for f in added), timeout_s)
        return {**found, "runs": [follower.run for follower in added]}

    async def join(self, kind: str, runs: Sequence[str]) -> dict[str, Any]:
        """Add clients of runs that others have asked for."""
        added = [Follower(self._places, kind, f"second-{n}", run) for n, run in enumerate(runs)]
        self._all += added
        spread([follower.start for follower in added], len(runs) / _PER_S)
        return {}

    async def churn(self, mean_life_s: float) -> dict[str, Any]:
        """Cut connections that are opened from now on at random. With 0, they are not cut."""
        self._places.mean_life_s = mean_life_s
        return {}

    async def cut(self, kind: str, count: int, seconds: float) -> dict[str, Any]:
        """Cut so many connections of clients of a kind, evenly over some time, and wait for all.

        Returns:
            How many milliseconds each return took.
        """
        some = [f for f in self._all if f.kind == kind and not f.ended]
        chosen = [some[number % len(some)] for number in range(count)]
        before = len(self._places.rejoins[kind])
        spread([follower.cut for follower in chosen], seconds)
        await asyncio.sleep(seconds)
        await self._until(lambda: sum(not f.settled for f in some), _SETTLED_S)
        return {"ms": self._places.rejoins[kind][before:]}

    async def rejoins(self) -> dict[str, Any]:
        """Return how long each return took since the last question, in milliseconds."""
        found = [ms for times in self._places.rejoins.values() for ms in times]
        for times in self._places.rejoins.values():
            times.clear()
        return {"ms": found}

    async def reach(self, tokens: int, timeout_s: float) -> dict[str, Any]:
        """Wait until each client has so many tokens, or has seen the end."""

        def is_short(follower: Follower) -> bool:
            return not follower.ended and follower.hearer.text.count(" ") < tokens

        found = await self._until(lambda: sum(map(is_short, self._all)), timeout_s)
        some = [f"{f.heard().client} of {f.run}" for f in self._all if is_short(f)]
        return {**found, "some": some[:3]}

    async def over(self, timeout_s: float) -> dict[str, Any]:
        """Wait until all clients know the end of their answers."""
        return await self._until(lambda: sum(not f.ended for f in self._all), timeout_s)

    async def finish(self, path: str) -> dict[str, Any]:
        """Stop all clients, and write what each has."""
        await ended(self._all)
        heard = [asdict(follower.heard()) for follower in self._all]
        await asyncio.to_thread(Path(path).write_bytes, orjson.dumps(heard))
        return {"connections": self._places.connections}

    async def _until(self, left: Callable[[], int], timeout_s: float) -> dict[str, Any]:
        with suppress(TimeoutError):
            await until(lambda: not left(), timeout_s)
        return {"left": left()}


if __name__ == "__main__":
    uvloop.run(obey(Followers(int(sys.argv[1]))))
