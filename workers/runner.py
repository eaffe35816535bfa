"""Shared by all workers: their pace, waiting for Redis, showing progress, and stopping.

A worker has a method `async run(life)`. It works until `life.over`, calls Redis only through
`life.patiently`, and counts its events in `life.announced`. This module does not know pets.
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol, TypeVar

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from broadcaster import BackendUnavailableError, ConfigurationError

logger = logging.getLogger("workers")

REPORT_S = 5.0
GRACE_S = 3.0
"""Seconds from the stop signal until work that still waits for Redis is cancelled."""
_BACKOFF_MIN_S = 0.1
_BACKOFF_MAX_S = 5.0
_T = TypeVar("_T")


class Worker(Protocol):
    """A worker, as `run_worker` runs it."""

    async def run(self, life: Life) -> None:
        """Work until `life.over`."""


class Life:
    """How fast a worker works, how much, and until when.

    Attributes:
        announced: number of published events.
    """

    def __init__(self, rate: float, count: int | None = None) -> None:
        """Begin a life.

        Args:
            rate: events per second.
            count: number of events after which the work is done; None is no limit.
        """
        self.rate = rate
        self.count = count
        self.announced = 0
        self._has_worked = False
        self._stopping = asyncio.Event()

    @property
    def over(self) -> bool:
        """Return True if the worker should begin nothing more."""
        return self._stopping.is_set() or (self.count is not None and self.announced >= self.count)

    @property
    def stopping(self) -> bool:
        """Return True if the worker should stop even what it has begun."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Ask the worker to stop."""
        self._stopping.set()

    async def sleep(self, seconds: float) -> None:
        """Sleep, but wake early when `stop` is called."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def ticks(self) -> AsyncIterator[None]:
        """Yield `rate` times a second until the life is over.

        Up to one second that a slow Redis cost is made up for. So a longer outage causes no flood.
        """
        due_s = time.monotonic()
        while not self.over:
            yield
            now_s = time.monotonic()
            due_s = max(due_s + 1 / self.rate, now_s - 1.0)
            if due_s > now_s:
                await self.sleep(due_s - now_s)

    async def repeat(self, step: Callable[[], Awaitable[bool]]) -> None:
        """Take a step at each tick until the life is over. Count the steps that return True."""
        async for _ in self.ticks():
            if await self.patiently(step):
                self.announced += 1

    async def patiently(self, action: Callable[[], Awaitable[_T]]) -> _T | None:
        """Run an action that needs Redis. While Redis is away, log that, wait, and run it again.

        A refusal for good is a mistake in the configuration if no action has succeeded yet. Later
        it comes from a change at Redis, which an operator can take back, so the worker waits.

        Args:
            action: the action. It must be safe to repeat if its outcome is unknown.

        Returns:
            The result of the action; None if the worker was asked to stop meanwhile.

        Raises:
            ConfigurationError: Redis refuses the first action for good.
        """
        failures, longest_s = 0, _BACKOFF_MIN_S
        while True:
            try:
                result = await action()
            except (BackendUnavailableError, ConfigurationError) as error:
                if isinstance(error, ConfigurationError) and not self._has_worked:
                    raise
                failures, longest_s = failures + 1, min(2 * longest_s, _BACKOFF_MAX_S)
                # Jitter, so that a herd of workers does not come back in one instant.
                wait_s = longest_s * random.uniform(0.5, 1)
                logger.warning("Redis is not available (%s): again in %.1f s", error, wait_s)
                await self.sleep(wait_s)
                if self.stopping:
                    return None
            else:
                self._has_worked = True
                if failures:
                    logger.warning("Redis is back after %d attempts", failures + 1)
                return result


async def run_worker(worker: Worker, life: Life) -> None:
    """Run a worker until it is done, or until SIGTERM or SIGINT asks it to stop.

    A signal does not cancel the caller's task.

    Raises:
        Exception: any exception of the worker.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, life.stop)
    logger.info("started; SIGTERM or Ctrl-C stops it cleanly")
    work = asyncio.create_task(worker.run(life))
    stopped = asyncio.create_task(life._stopping.wait())
    try:
        await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({work}, timeout=GRACE_S)
        # A cancelled step is written completely or not at all. Later the worker reads from Redis
        # which of the two.
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work
    finally:
        work.cancel()
        stopped.cancel()


@contextmanager
def showing_progress(name: str, life: Life) -> Iterator[None]:
    """Show the published events: a bar on a terminal, otherwise a log line every 5 s."""
    console = Console(stderr=True)
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if console.is_terminal:
        handler = RichHandler(console=console, show_path=False)
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    showing = _bar(name, life, console) if console.is_terminal else _log_lines(name, life)
    task = asyncio.get_running_loop().create_task(showing)
    try:
        yield
    finally:
        task.cancel()
        logger.info("%s: %d events published, stopped", name, life.announced)


async def _log_lines(name: str, life: Life) -> None:
    while True:
        before = life.announced
        await asyncio.sleep(REPORT_S)
        rate = (life.announced - before) / REPORT_S
        logger.info("%s: %d events published, %.1f/s", name, life.announced, rate)


async def _bar(name: str, life: Life, console: Console) -> None:
    columns = (
        TextColumn(name),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
    )
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        bar = progress.add_task(name, total=life.count, rate="")
        while True:
            before = life.announced
            await asyncio.sleep(0.5)
            rate = f"{(life.announced - before) / 0.5:.0f} events/s"
            progress.update(bar, completed=life.announced, rate=rate)
