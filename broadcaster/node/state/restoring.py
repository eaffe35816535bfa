"""Makes the fold of a stream from its checkpoint and the log after it.

A fold can't be undone. So a rewind, a hole or a new stream ends it, and another one is made from
the beginning: the checkpoint, the pages of the log after it, and then the window. While this goes
on, the stream is tailed as before. The last step has no `await`, so that the fold ends at the head.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from broadcaster.backend.checkpoints.checkpoint import NOTHING, Found
from broadcaster.backend.log import Log
from broadcaster.core.backoff import backoff_s
from broadcaster.core.event import ZERO, EventId
from broadcaster.core.history.window import Place, Window
from broadcaster.core.log import Beginning, PageAfter, Past
from broadcaster.core.state.fold import Fold
from broadcaster.core.state.values import Rules
from broadcaster.errors import BroadcasterError

logger = logging.getLogger(__name__)

Read: TypeAlias = Callable[[], Awaitable[Found]]
"""Returns the checkpoint of a stream; errors as for `Checkpoint.read`."""

_BACKOFF_S = (0.1, 5.0)
_LATE_S = 0.05


class _HoleError(Exception):
    """The log does not have all that is after a position."""


class _OvertakenError(Exception):
    """The stream has changed its history meanwhile."""


class Restoring:
    """Keeps one stream's fold whole: after each break it makes a new one.

    Attributes:
        breaks: the number of calls of `broken`.
        problem: why there is no fold now; empty if there is one, or nothing has failed.
    """

    def __init__(
        self,
        stream: str,
        rules: Rules,
        log: Log,
        window: Window,
        read: Read | None,
        adopt: Callable[[Fold, Found], object],
        *,
        notes: bool = False,
    ) -> None:
        """Name the parts. Nothing is read before `run`.

        Args:
            stream: its name.
            rules: those of the fold.
            log: has the stream.
            window: the newest frames; it is only read here.
            read: returns the checkpoint. None means that there is never one.
            adopt: gets each new fold, and the checkpoint that it began with. From then on the
                caller folds what the window gets.
            notes: the folds note which keys have changed since the checkpoint.
        """
        self._stream = stream
        self._rules = rules
        self._log = log
        self._window = window
        self._read = read
        self._adopt = adopt
        self._notes = notes
        self._wanted = asyncio.Event()
        self.breaks = 0
        self.problem = ""

    def broken(self) -> None:
        """Begin a new fold: what the former one was made of is not the log any more."""
        self.breaks += 1
        self._wanted.set()

    async def run(self) -> None:
        """Make a fold after each break, until cancelled."""
        failures = 0
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            breaks = self.breaks
            try:
                fold, found = await self._made(breaks)
            except _OvertakenError:
                self._wanted.set()
            except (BroadcasterError, _HoleError) as error:
                self.problem = str(error) or "entries were trimmed while they were read"
                if failures == 0:
                    logger.warning("no state of %r, trying again: %s", self._stream, self.problem)
                failures += 1
                self._wanted.set()
                await asyncio.sleep(backoff_s(failures, *_BACKOFF_S, random.random()))
            else:
                failures, self.problem = 0, ""
                self._adopt(fold, found)

    async def _made(self, breaks: int) -> tuple[Fold, Found]:
        """Return a fold up to the head of the window, and the checkpoint that it is made of.

        After the last `await` here nothing has changed: the caller adopts it at once.
        """
        found = await self._read() if self._read else NOTHING
        self._check(breaks)
        if found.mark is not None:
            try:
                return await self._from(breaks, found), found
            except _HoleError:
                # The log after the checkpoint was trimmed while it was read. If the checkpoint has
                # gone on meanwhile, the next attempt finds all of it.
                if self._read and (await self._read()).at != found.at:
                    raise
                self._check(breaks)
        lost = found._replace(mark=None, values=[], newest=ZERO)
        return await self._from(breaks, lost), lost

    async def _from(self, breaks: int, found: Found) -> Fold:
        fold = Fold(self._rules)
        position = await self._begun(fold, found)
        while True:
            self._check(breaks)
            match self._window.place(position):
                case Place.COVERED:
                    frames, is_all = self._window.after(position)
                    fold.apply(frames)
                    position = frames[-1].id if frames else position
                    # A value may be newer than the checkpoint's position. Until the window has its
                    # event, the fold is not that of the log up to the head.
                    if is_all and self._window.head >= found.newest:
                        return fold
                    await asyncio.sleep(_LATE_S if is_all else 0)
                case Place.BEHIND:
                    page = await self._page(position)
                    if not page.proven or not page.frames:
                        raise _HoleError
                    fold.apply(page.frames)
                    position = page.end
                case Place.AHEAD:  # the tailer is late
                    await asyncio.sleep(_LATE_S)
                case Place.UNKNOWN:
                    raise _HoleError

    async def _begun(self, fold: Fold, found: Found) -> EventId:
        """Load the checkpoint, if there is one. Return where the log goes on."""
        mark, start = found.mark, found.start
        if mark is None or mark.position is None or start is None:
            position, since = await self._oldest()
            fold.load(position, since, ())
            return position
        fold.load(mark.position, mark.since, found.values)
        if self._notes and not found.moved:
            fold.take_changed()  # from here on
        if mark.position <= self._window.floor <= start:  # there is nothing in between
            return self._window.floor
        return mark.position if self._window.place(mark.position) is Place.COVERED else start

    async def _oldest(self) -> tuple[EventId, EventId | None]:
        """Return where the log begins, and from where on it is whole; None if it always was."""
        if self._window.floor == ZERO or (await self._page(ZERO)).proven:
            return ZERO, None
        beginning = await self._log.ask(self._stream, Beginning())
        oldest = beginning if isinstance(beginning, EventId) else self._window.floor
        return oldest, oldest

    async def _page(self, position: EventId) -> Past:
        page = await self._log.ask(self._stream, PageAfter(position))
        assert isinstance(page, Past)
        return page

    def _check(self, breaks: int) -> None:
        if self.breaks != breaks:
            raise _OvertakenError
