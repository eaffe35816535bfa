"""Joins the texts of runs, and writes those of all runs of a process together. Part of `backend`.

A token that is published at once costs an entry of its own. So the texts of a run are gathered for
a moment. All texts that are due go to Redis in one pipeline, and the next pipeline begins when that
one is answered. Two kinds of texts leave at once, beside these pipelines: the first text of a run,
and a text that its worker waits for.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

from broadcaster.backend.runs.moments import Moments
from broadcaster.errors import BackendUnavailableError, RunLostError

logger = logging.getLogger(__name__)

BATCH_S = 0.1
"""The default of the seconds for which the texts of a run are gathered."""
_MOST_CHARS = 64 * 1024
_GATHER_S = 0.002  # in which texts of other runs may come, so that they share a pipeline
_AT_ONCE = 100  # batches in a pipeline; Redis and this process take some milliseconds for so many
_AGAIN_S = 0.2
_IN_NO_QUEUE = float("inf")
_ADVICE = {  # by words of Redis's refusal, of which redis-py cuts the code `OOM`
    "used memory": "Give Redis more memory (maxmemory), or retain less (maxlen)",
    "MISCONF": "Redis can't write to its disk: its own log says why",
}
_ELSE = "Nothing is lost while this process lives"


class Texts:
    """The texts of one run that are not written yet.

    Attributes:
        due_s: the time at which the next batch is to be sent; infinite if there is none, and 0 or
            less if it must not wait.
        sent: True while a batch is on its way.
        next_s: the time at which its next batch may leave.
    """

    def __init__(
        self, batch: Callable[[str, str], Any], took: Callable[[str, str, str], None]
    ) -> None:
        """Begin without a text.

        Args:
            batch: returns the next batch of the run, with one event of this type and text.
            took: is called with the type and the text of that batch, and what Redis says of it. It
                raises if the batch was not written.
        """
        self.due_s = _IN_NO_QUEUE
        self.sent = False
        self.next_s = -_IN_NO_QUEUE
        self._make, self._took = batch, took
        self._parts: list[str] = []
        self._type = ""
        self._chars = 0
        self._batch: tuple[str, Any] | None = None  # the same until it is answered
        self._error: Exception | None = None
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def pending(self) -> bool:
        """Return True if something is not written yet."""
        return bool(self._parts) or self._batch is not None

    @property
    def full(self) -> bool:
        """Return True if too much is gathered."""
        return self._chars > _MOST_CHARS

    def fits(self, type_: str) -> bool:
        """Return True if an event of this type can be joined with what is gathered."""
        return not self.pending or self._type == type_

    def check(self) -> None:
        """Raise what has gone wrong with an earlier text."""
        if self._error is not None:
            raise self._error

    def add(self, type_: str, text: str) -> None:
        """Take a text that fits."""
        self._type = type_
        self._parts.append(text)
        self._chars += len(text)

    def drop(self) -> None:
        """Forget what is gathered, but not what is on its way."""
        self._parts.clear()
        self._chars = 0

    def next(self) -> Any:
        """Return the batch to write, which is the same until it is answered; None without one."""
        if self._batch is None and self._parts:
            text = "".join(self._parts)
            self.drop()
            try:
                self._batch = text, self._make(self._type, text)
            except Exception as error:
                self.fail(error)
        return self._batch and self._batch[1]

    def took(self, said: str) -> None:
        """Note what Redis says of the batch."""
        assert self._batch is not None
        (text, _), self._batch = self._batch, None
        try:
            self._took(self._type, text, said)
        except Exception as error:
            self.fail(error)
        self._settle()

    def fail(self, error: Exception) -> None:
        """Write no more. All later calls raise this error."""
        self._error, self._batch = error, None
        self.drop()
        self._settle()

    async def settled(self) -> None:
        """Wait until a batch is answered, or will never be."""
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        await waiting

    def _settle(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():  # its task may be cancelled
                waiting.set_result(None)
        self._waiting.clear()


class Outbox:
    """Writes the texts of several runs. Its tasks live while there is something to write."""

    def __init__(
        self,
        write: Callable[[Sequence[Any]], Awaitable[Sequence[str | Exception]]],
        batch_s: float = BATCH_S,
    ) -> None:
        """Begin without texts.

        Args:
            write: writes batches of several runs, and returns for each what Redis says. It is
                called again with a batch if that is not known.
            batch_s: seconds for which texts are gathered.
        """
        self._write = write
        self._moments = Moments(batch_s)
        self._queue: list[tuple[float, int, Texts]] = []
        self._urgent: list[Texts] = []
        self._sent: set[Texts] = set()
        self._waits = False  # Redis has not taken what was sent last
        self._numbers = count()
        self._woken = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        self._urgent_work: asyncio.Task[None] | None = None

    async def add(self, texts: Texts, type_: str, text: str) -> None:
        """Take a text of a run. Wait if the text before has another type, or too much waits.

        Raises:
            Exception: what has gone wrong with an earlier text.
        """
        texts.check()
        if not texts.fits(type_):
            await self.flush(texts)
        begins = not texts.pending
        texts.add(type_, text)
        if begins:
            self._put(texts, texts.next_s)
        while texts.full:
            await self._hurry(texts)

    async def flush(self, texts: Texts) -> None:
        """Write all texts of a run now. Raises as `add` does."""
        while texts.pending:
            await self._hurry(texts)
        texts.check()

    async def forget(self, texts: Texts) -> None:
        """Drop the texts of a run, and wait for those on their way. Raises as `add` does."""
        texts.drop()
        await self.flush(texts)

    async def aclose(self) -> None:
        """Stop. What is left is dropped, and its writers get a `RunLostError`."""
        tasks = [task for task in (self._work, self._urgent_work) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for texts in [*self._sent, *self._urgent, *(texts for *_, texts in self._queue)]:
            texts.fail(RunLostError("this worker has ended"))
        self._queue.clear()
        self._urgent.clear()

    async def _hurry(self, texts: Texts) -> None:
        self._put(texts, 0.0)
        await texts.settled()
        texts.check()

    def _put(self, texts: Texts, due_s: float) -> None:
        texts.due_s = due_s
        if due_s <= 0:
            self._urgent.append(texts)
            if self._urgent_work is None or self._urgent_work.done():
                self._urgent_work = asyncio.create_task(self._hasten())
            return
        heapq.heappush(self._queue, (due_s, next(self._numbers), texts))
        if self._queue[0][2] is texts:  # else it is woken sooner
            self._woken.set()
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._run())

    async def _hasten(self) -> None:
        while self._urgent:
            await asyncio.sleep(0)  # other runs may begin now, so that they share a pipeline
            some, self._urgent = self._urgent[:_AT_ONCE], self._urgent[_AT_ONCE:]
            await self._send([texts for texts in some if texts.due_s <= 0])

    async def _run(self) -> None:
        now_s = asyncio.get_running_loop().time
        while self._queue:
            self._woken.clear()
            if (wait_s := self._queue[0][0] - now_s()) > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._woken.wait()
                continue
            await asyncio.sleep(_GATHER_S)
            while due := self._due(now_s()):
                await self._send(due)

    def _due(self, now_s: float) -> list[Texts]:
        found = list[Texts]()
        while self._queue and self._queue[0][0] <= now_s and len(found) < _AT_ONCE:
            due_s, _, texts = heapq.heappop(self._queue)
            if due_s == texts.due_s:  # else it has another place since
                found.append(texts)
        return found

    async def _send(self, due: Sequence[Texts]) -> None:
        sent_s = asyncio.get_running_loop().time()
        sent, batches = list[Texts](), list[Any]()
        for texts in due:
            if texts.sent:  # it gets another place when that is answered
                continue
            texts.due_s = _IN_NO_QUEUE
            if (batch := texts.next()) is not None:
                texts.sent = True
                sent.append(texts)
                batches.append(batch)
        if not batches:
            return
        self._sent.update(sent)
        said = await self._said(batches)
        self._report(said)
        self._sent.difference_update(sent)
        for texts, one in zip(sent, said, strict=True):
            texts.sent = False
            self._answered(texts, one, sent_s)

    async def _said(self, batches: Sequence[Any]) -> Sequence[str | Exception]:
        try:
            return await self._write(batches)
        except Exception as error:
            return [error] * len(batches)

    def _report(self, said: Sequence[str | Exception]) -> None:
        """Say once that texts wait, and once that they don't any more."""
        trouble = next((one for one in said if isinstance(one, BackendUnavailableError)), None)
        if trouble and not self._waits:
            found = (what for words, what in _ADVICE.items() if words in str(trouble))
            logger.warning("the texts of runs wait: %s. %s", trouble, next(found, _ELSE))
        elif self._waits and not trouble:
            logger.warning("the texts of runs are written again")
        self._waits = trouble is not None

    def _answered(self, texts: Texts, said: str | Exception, sent_s: float) -> None:
        if isinstance(said, BackendUnavailableError):
            self._put(texts, sent_s + _AGAIN_S)
            return
        texts.next_s = self._moments.after(texts.next_s, sent_s)
        if isinstance(said, Exception):
            texts.fail(said)
        else:
            texts.took(said)
        if texts.pending:
            self._put(texts, min(texts.due_s, texts.next_s))
