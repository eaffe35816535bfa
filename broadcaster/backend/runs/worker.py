"""One worker: it answers the requests of a queue, several at once. Part of `backend`.

`RunQueue.serve` runs it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Protocol

from broadcaster.backend.runs.run import Run
from broadcaster.errors import BackendUnavailableError, BroadcasterError, RunLostError

logger = logging.getLogger(__name__)

CONCURRENCY = 64
"""The default of the most runs that one worker answers at a time."""
_WAIT_S = 0.5
_LOOK_S = 0.5  # so that the work on a run that is stopped ends within 1 s
_AGAIN_S = 1.0
_CLOSE_S = 1.0


class RunSource(Protocol):
    """The part of a `RunQueue` that is needed here."""

    async def take(self, limit: int, *, wait_s: float) -> list[Run]:
        """Take runs."""

    async def keep(self) -> list[Run]:
        """Say that this worker lives, and return the runs that it does not have any more."""

    def release(self, run: Run) -> None:
        """Stop working on a run."""

    async def aclose(self) -> None:
        """Give unfinished runs back."""


class WorkerTasks:
    """The tasks of one worker, one for each run."""

    def __init__(
        self,
        queue: RunSource,
        answer: Callable[[Run], Awaitable[object]],
        concurrency: int,
        takeover_s: float,
    ) -> None:
        """Store the arguments.

        Args:
            queue: gives the runs.
            answer: publishes the pieces of a run.
            concurrency: the most runs at a time.
            takeover_s: seconds of silence after which another worker takes a run.
        """
        self._queue = queue
        self._answer = answer
        self._concurrency = concurrency
        self._look_s = min(_LOOK_S, takeover_s / 4)
        self._tasks: dict[Run, asyncio.Task[None]] = {}

    async def work(self) -> None:
        """Answer requests until cancelled. Raises a `ConfigurationError`."""
        keeping = asyncio.create_task(self._keep())
        try:
            while True:
                if len(self._tasks) >= self._concurrency:
                    await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_COMPLETED)
                    await asyncio.sleep(0)  # their callbacks free the places
                    continue
                for run in await self._take():
                    self._tasks[run] = task = asyncio.create_task(self._run(run))
                    task.add_done_callback(partial(self._done, run))
        finally:
            keeping.cancel()
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(keeping, *tasks, return_exceptions=True)
            with suppress(TimeoutError, BroadcasterError):
                async with asyncio.timeout(_CLOSE_S):
                    await self._queue.aclose()

    def _done(self, run: Run, _: asyncio.Task[None]) -> None:
        self._tasks.pop(run, None)

    async def _take(self) -> list[Run]:
        try:
            return await self._queue.take(self._concurrency - len(self._tasks), wait_s=_WAIT_S)
        except BackendUnavailableError as error:
            logger.warning("no requests are taken for now: %s", error)
            await asyncio.sleep(_AGAIN_S)
            return []

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._look_s)
            try:
                lost = await self._queue.keep()
            except BroadcasterError as error:
                logger.debug("runs are kept later: %s", error)
                continue
            for run in lost:
                if task := self._tasks.get(run):
                    task.cancel()

    async def _run(self, run: Run) -> None:
        try:
            await self._answer(run)
            if not run.finished:
                await run.complete()
        except RunLostError as error:
            logger.info("%s", error)
        except asyncio.CancelledError:
            await self._flush(run)
            raise
        except Exception:
            logger.exception("run %s failed; it is tried again later", run.id)
            await self._flush(run)
            self._queue.release(run)

    async def _flush(self, run: Run) -> None:
        """Publish what is gathered, so that the next worker has it."""
        with suppress(TimeoutError, BroadcasterError):
            async with asyncio.timeout(_CLOSE_S):
                await run.flush()
