"""A worker that answers as many runs as there are, slowly: it waits for a gate in the middle.

python -m tests.chaos.worker JSON
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import orjson

from broadcaster import BackendUnavailableError, Channel, Publisher, Run, RunQueue
from tests.chaos.follower import PATH
from tests.chaos.speech import Said, said, spoken

ANSWERS = Channel(name="answers", path=PATH, requests="answers.requests")
_LOOK_S = 0.05
_AGAIN_S = 0.2
_T = TypeVar("_T")


@dataclass(frozen=True)
class Manner:
    """How a worker answers.

    Attributes:
        tokens: of an answer.
        per_s: tokens in a second.
        gate: a file; before it is there, no token from number `shut` on is said.
        shut: see there.
        restarts: the share of the answers that it begins anew if another worker has begun them.
        takeover_s: as for `RunQueue`.
        batch_s: as for `RunQueue`.
        concurrency: the most runs at a time.
        seed: of what it does at random.
    """

    tokens: int
    per_s: float
    gate: str
    shut: int
    restarts: float
    takeover_s: float
    batch_s: float
    concurrency: int
    seed: int


class Speaker:
    """Answers runs."""

    def __init__(self, manner: Manner) -> None:
        self._manner = manner
        self._open = asyncio.Event()
        self._random = random.Random(manner.seed)

    async def watch(self) -> None:
        """Open the gate when its file is there."""
        while not Path(self._manner.gate).exists():  # noqa: ASYNC110, ASYNC240 -- as files are
            await asyncio.sleep(_LOOK_S)
        self._open.set()

    async def answer(self, run: Run) -> None:
        """Say the tokens of a run, or those that it lacks."""
        manner, held = self._manner, said(run.id, run.text)
        if held is None:
            await run.fail("what was published is no answer")
            return
        if held.tokens and self._random.random() < manner.restarts:
            await _patiently(run.restart)
            held = Said(0, 0)
        attempt = held.attempt or run.attempt
        tokens = spoken(run.id, attempt, held.tokens, manner.tokens)
        for number, token in enumerate(tokens, held.tokens):
            if number >= manner.shut:
                await self._open.wait()
            await run.write(token)
            await asyncio.sleep(1 / manner.per_s)
        await _patiently(run.complete)


async def _patiently(action: Callable[[], Awaitable[_T]]) -> _T:
    """Call the same method again while Redis is away, as the documentation says."""
    while True:
        with suppress(BackendUnavailableError):
            return await action()
        await asyncio.sleep(_AGAIN_S)


async def main(manner: Manner) -> None:
    """Answer requests until killed."""
    speaker = Speaker(manner)
    url = os.environ["BROADCASTER_REDIS_URL"]
    async with Publisher(url, channels=[ANSWERS]) as publisher:
        queue = RunQueue(
            publisher, ANSWERS.name, takeover_s=manner.takeover_s, batch_s=manner.batch_s
        )
        serving = queue.serve(speaker.answer, concurrency=manner.concurrency)
        await asyncio.gather(serving, speaker.watch())


if __name__ == "__main__":
    asyncio.run(main(Manner(**orjson.loads(sys.argv[1]))))
