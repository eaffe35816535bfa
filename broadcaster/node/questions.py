"""Carries the questions of step machines to the log, and brings its answers back."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from broadcaster.backend.lane import Lane
from broadcaster.core.fanout.turns import Reader
from broadcaster.core.log import KINDS, AnyAnswer, AnyQuestion, PageAfter
from broadcaster.core.resume.machine import Resume
from broadcaster.core.resume.opening import Admission, Opening, Verdict
from broadcaster.core.resume.steps import Ask, Wait
from broadcaster.core.wire import Shed
from broadcaster.errors import BackendUnavailableError, BroadcasterError

logger = logging.getLogger(__name__)

_PAUSE_S = (0.5, 1.5)
_OPEN_TIMEOUT_S = 10.0

AskLog = Callable[[str, AnyQuestion, Reader | None], Awaitable[AnyAnswer]]
"""Answers a reader's question about a stream. Raises a `BroadcasterError` if it can't for now."""


async def _pause() -> None:
    # Random, so that a herd does not ask again in one instant.
    await asyncio.sleep(random.uniform(*_PAUSE_S))


class Questions:
    """Asks the log for step machines."""

    def __init__(
        self,
        ask_log: AskLog,
        *,
        pause: Callable[[], Awaitable[None]] = _pause,
        rest: Callable[[float], Awaitable[None]] = asyncio.sleep,
        limit: Callable[[float], AbstractAsyncContextManager[object]] = asyncio.timeout,
    ) -> None:
        """Ask by these functions. Tests replace them.

        Args:
            ask_log: answers one question. Callers with equal questions share one read.
            pause: waits before a step machine may repeat a question that was not answered.
            rest: waits for some seconds, before a client gets the next page.
            limit: raises a `TimeoutError` in what takes longer than some seconds.
        """
        self._ask_log = ask_log
        self._pause = pause
        self._rest = rest
        self._limit = limit
        self._windows = Lane(1)

    async def open(
        self,
        opening: Opening,
        step: Admission,
        load: Callable[[], Awaitable[bool]],
        reader: Reader | None = None,
    ) -> Verdict:
        """Return where a request begins, or why it is not served.

        Cancelling it abandons the question that is open.

        Args:
            opening: the step machine of the request.
            step: the step that `opening` has just returned.
            load: waits a moment for windows that are still loading; returns True if all are
                loaded.
            reader: the client; None for one in this process.

        Raises:
            BackendUnavailableError: Redis is away, or did not answer in time.
            ConfigurationError: Redis refuses a request for good.
        """
        try:
            # Nothing is sent before this is done. If it takes too long, a proxy in between may
            # answer 504, which ends an EventSource for good.
            async with self._limit(_OPEN_TIMEOUT_S):
                return await self._opened(opening, step, load, reader)
        except TimeoutError as error:
            raise BackendUnavailableError("Redis did not answer in time") from error

    async def _opened(
        self,
        opening: Opening,
        step: Admission,
        load: Callable[[], Awaitable[bool]],
        reader: Reader | None,
    ) -> Verdict:
        while True:
            if isinstance(step, Ask):
                opening.answered(step, await self._answer_to(step, reader))
            elif not isinstance(step, Wait):
                return step
            elif not await load():
                return Shed.LOADING
            step = opening.step()

    def ask(
        self, resume: Resume, ask: Ask, wake: Callable[[], object], reader: Reader | None = None
    ) -> asyncio.Task[None]:
        """Send the question of a subscriber that catches up. Its step machine gets the answer.

        Args:
            resume: the step machine.
            ask: its question.
            wake: called when the machine can take its next step.
            reader: the subscriber. Before a page, it rests for what its last one cost in vain.

        Returns:
            The task that waits for the answer. Cancel it if the answer is not needed any more.
        """
        return asyncio.create_task(self.answer(resume, ask, wake, reader))

    def rest(self, reader: Reader, wake: Callable[[], object]) -> asyncio.Task[None]:
        """Let a subscriber wait for its next page of the windows, as its filter leaves out much.

        Such subscribers have their pages one by one, and addresses take turns. The window of a busy
        stream has a hundred pages. If many subscribers had one in each turn of the event loop, all
        clients would wait for their sum.

        Args:
            reader: the subscriber, which was charged for its last page.
            wake: called when it may have the next one.

        Returns:
            The task that waits. Cancel it if the subscriber leaves.
        """
        return asyncio.create_task(self._in_turn(reader, wake))

    async def _in_turn(self, reader: Reader, wake: Callable[[], object]) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._windows.wait(turn, reader)
        await self._windows.running(turn)
        try:
            wake()
            await self._rest(reader.rest_s)  # the next page costs about as much as the last one
        finally:
            self._windows.done(turn)

    async def answer(
        self, resume: Resume, ask: Ask, wake: Callable[[], object], reader: Reader | None = None
    ) -> None:
        """Do the same as `ask`, but in the caller's task."""
        settled, asker = False, ask.asker or resume
        if reader and reader.rest_s and isinstance(ask.question, PageAfter):
            await self._rest(reader.rest_s)
        try:
            settled = asker.answered(ask, await self._answer_to(ask, reader))
        except BroadcasterError as error:
            # The client stays connected and gets heartbeats. It is served when Redis is back.
            logger.debug("a replay waits: %s", error)
        if not settled:
            await self._pause()
            asker.failed(ask)
        wake()

    async def _answer_to(self, ask: Ask, reader: Reader | None) -> AnyAnswer:
        """Return the log's answer. A mistake of a user's log is trouble that passes."""
        try:
            answer = await self._ask_log(ask.stream, ask.question, reader)
            if not isinstance(answer, KINDS[type(ask.question)]):
                raise TypeError(f"this is no answer to the question: {answer!r}")
            return answer
        except BroadcasterError:
            raise
        except Exception as error:
            logger.exception("the log failed at %s of stream %r", ask.question, ask.stream)
            raise BackendUnavailableError(f"the log failed: {error}") from error
