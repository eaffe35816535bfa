"""Produces answers in this process, apart from the requests that ask for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from broadcaster.answers.formats import COMPLETE, TEXT
from broadcaster.answers.sources import texts
from broadcaster.backend.runs.outbox import Outbox
from broadcaster.backend.runs.records import Records
from broadcaster.backend.runs.run import Run
from broadcaster.errors import BackendUnavailableError, BroadcasterError, RunLostError

logger = logging.getLogger(__name__)

_LOOK_S = 0.5  # so that the work on an answer that is stopped ends within 1 s
_AGAIN_S = 0.2
_FAREWELL_S = 2.0
_T = TypeVar("_T")


class Producers:
    """The tasks that produce answers, one for each run.

    Attributes:
        outbox: writes the texts of all of them.
    """

    def __init__(self, records: Records, *, lease_s: float, batch_s: float) -> None:
        """Begin without answers.

        Args:
            records: of the channel.
            lease_s: seconds after which an answer fails whose process is gone.
            batch_s: seconds for which tokens are gathered.
        """
        self._records = records
        self._lease_s = lease_s
        self.outbox = Outbox(partial(records.write_all, lease_s=lease_s), batch_s)
        self._tasks: dict[Run, asyncio.Task[None]] = {}
        self._keeping: asyncio.Task[None] | None = None

    def start(self, run: Run, source: Any) -> None:
        """Produce an answer, which has begun, from a source that `texts` can read."""
        self._tasks[run] = task = asyncio.create_task(self._produce(run, source))
        task.add_done_callback(lambda _: self._tasks.pop(run, None))
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._keep())

    async def aclose(self) -> None:
        """End all answers: their clients get `failed`."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if self._keeping:
            self._keeping.cancel()
            tasks.append(self._keeping)
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.outbox.aclose()

    async def _produce(self, run: Run, source: Any) -> None:
        try:
            async for text in texts(source):
                await run.write(text, type=TEXT)
            await self._patiently(lambda: run.complete(type=COMPLETE, data="{}"))
        except RunLostError as error:
            logger.info("%s", error)
        except asyncio.CancelledError:
            await self._fail(run, "shutdown")  # nothing happens if it was stopped
            raise
        except Exception as error:
            logger.exception("run %s failed", run.id)
            await self._fail(run, type(error).__name__)

    async def _fail(self, run: Run, reason: str) -> None:
        """End the run, after all that is gathered."""
        with suppress(TimeoutError, BroadcasterError):
            async with asyncio.timeout(_FAREWELL_S):
                await self._patiently(lambda: run.fail(reason))

    async def _patiently(self, action: Callable[[], Awaitable[_T]]) -> _T:
        """Run an action again while Redis is away. After the lease, the run is lost."""
        while True:
            try:
                return await action()
            except BackendUnavailableError as error:
                logger.debug("again soon: %s", error)
                await asyncio.sleep(_AGAIN_S)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(min(_LOOK_S, self._lease_s / 4))
            runs = list(self._tasks)
            if not runs:
                continue
            try:
                said = await self._records.keep(
                    [(run.id, run.attempt) for run in runs], self._lease_s
                )
            except BroadcasterError as error:
                logger.debug("answers are kept later: %s", error)
                continue
            for run, standing in zip(runs, said, strict=True):
                if standing != "running" and (task := self._tasks.get(run)):
                    task.cancel()
