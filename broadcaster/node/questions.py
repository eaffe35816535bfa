"""Carries questions of step machines to the log, and its answers back."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from broadcaster.core.log import Answer, Question
from broadcaster.core.opening import Admission, NoContent, Opening, Refused, Serve
from broadcaster.core.resume import Resume
from broadcaster.core.steps import Ask, Wait
from broadcaster.core.wire import Shed
from broadcaster.errors import BroadcasterError

logger = logging.getLogger(__name__)

_PAUSE_S = (0.5, 1.5)

AskLog = Callable[[str, Question], Awaitable[Answer]]
"""Answers a question about a stream. Raises a `BroadcasterError` while it can't."""


async def _pause() -> None:
    # At random, so that a herd does not come again in one instant.
    await asyncio.sleep(random.uniform(*_PAUSE_S))


class Questions:
    """Asks the log for step machines."""

    def __init__(self, ask_log: AskLog, *, pause: Callable[[], Awaitable[None]] = _pause) -> None:
        """Prepare.

        Args:
            ask_log: answers one question; callers that ask the same share one read.
            pause: waits before a question is asked again that the log could not answer.
        """
        self._ask_log = ask_log
        self._pause = pause

    async def open(
        self, opening: Opening, step: Admission, load: Callable[[], Awaitable[bool]]
    ) -> Refused | Shed | NoContent | Serve:
        """Take a request to where it begins, or to why it does not.

        Args:
            opening: of the request.
            step: the one that `opening` has just taken.
            load: waits a moment for windows that are still being read; whether they are there.

        Raises:
            BackendUnavailableError: Redis is away.
            ConfigurationError: Redis refuses a request for good.
        """
        while True:
            if isinstance(step, Ask):
                opening.answered(step, await self._ask_log(step.stream, step.question))
            elif not isinstance(step, Wait):
                return step
            elif not await load():
                return Shed.LOADING
            step = opening.step()

    def ask(self, resume: Resume, ask: Ask, wake: Callable[[], object]) -> asyncio.Task[None]:
        """Ask for a subscriber that catches up, and hand the answer to its step machine.

        Args:
            resume: the machine.
            ask: what it asks.
            wake: called when its next step is worth while.

        Returns:
            A task to cancel when nobody wants the answer any more.
        """
        return asyncio.create_task(self.answer(resume, ask, wake))

    async def answer(self, resume: Resume, ask: Ask, wake: Callable[[], object]) -> None:
        """As `ask`, in the caller's own task."""
        settled = False
        try:
            settled = resume.answered(ask, await self._ask_log(ask.stream, ask.question))
        except BroadcasterError as error:
            # The client stays, gets heartbeats, and is served when Redis is back.
            logger.debug("a replay waits: %s", error)
        if not settled:
            await self._pause()
            resume.failed(ask)
        wake()
