"""Folds one stream and keeps its checkpoint in Redis.

What has changed is written a few times a second. A flush is refused if another folder has written
meanwhile, or if Redis does not have what was folded. Then the folder forgets what it has, and
begins again from the checkpoint that is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time

from broadcaster.backend.checkpoints.checkpoint import Found
from broadcaster.backend.checkpoints.flush import Flush, Flushed
from broadcaster.backend.log import Log
from broadcaster.core.history.window import Window
from broadcaster.core.log import Batch, Change, Restart, Rewind
from broadcaster.core.state.checkpoint import named
from broadcaster.core.state.fold import Fold
from broadcaster.core.state.values import Rules
from broadcaster.errors import BroadcasterError
from broadcaster.node.state.flushing import Flushing, NotWrittenError
from broadcaster.node.state.restoring import Read, Restoring

logger = logging.getLogger(__name__)

FLUSH_S = 0.25
"""Seconds between two flushes."""
LOCK_S = 10.0
"""Seconds for which a folder that was killed keeps the others waiting."""
_LOOK_S = 1.0
_TELL_S = 60.0
_RENEWALS = 3
_HOLDER_BYTES = 8


class Folding:
    """Folds one stream and keeps its checkpoint, while it has the lock.

    Attributes:
        holds: True if it has the lock, and so works.
        flushes: the number of flushes that were written.
        refused: the number of those that were not, because they did not fit what Redis has.
        failures: how often Redis could not be asked.
        problem: why nothing can be written now; empty if it can.
    """

    def __init__(
        self,
        stream: str,
        rules: Rules,
        shards: int,
        log: Log,
        window: Window,
        read: Read,
        flush: Flush,
    ) -> None:
        """Name the parts. Nothing is sent before `run`.

        Args:
            stream: its name.
            rules: of its state.
            shards: of its channel.
            log: has the stream.
            window: an empty one. The tailer compares it with Redis, so a small one does.
            read: returns the checkpoint.
            flush: writes it.
        """
        self._stream, self._rules, self._shards = stream, named(rules), shards
        self._log, self._window, self._flush = log, window, flush
        self._restoring = Restoring(stream, rules, log, window, read, self._adopt, notes=True)
        self._holder = os.urandom(_HOLDER_BYTES).hex()
        self._renew_s = 0.0
        self._loaded = False
        self._flushing: Flushing | None = None
        self.holds = False
        self.flushes = self.refused = self.failures = 0
        self._told = (0, 0, 0)
        self._told_s = time.monotonic()
        self.problem = ""

    async def run(self) -> None:
        """Follow the stream, fold it, and flush, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._restoring.run())
            group.create_task(self._flush_while_it_holds())

    async def finish(self) -> None:
        """Flush what is left after `run` was cancelled, and let another folder begin at once."""
        with contextlib.suppress(BroadcasterError):
            await self._flush_now()
            if self.holds:
                await self._flush.release(self._holder)
        self._tell()

    # Following

    async def _follow(self) -> None:
        async with contextlib.aclosing(self._log.changes(self._stream, self._window)) as changes:
            async for change in changes:
                self._apply(change)

    def _apply(self, change: Change) -> None:
        match change:
            case Batch(frames):
                self._window.append(frames)
                if self._flushing is not None:
                    self._flushing.fold.apply(frames)
            case Rewind(position):
                self._window.rewind(position)
                self.begin_again()
            case Restart(floor, frames, complete, parted):
                self._window.restart(floor, complete=complete, parted=parted)
                self._window.append(frames)
                self._loaded = True
                self.begin_again()

    def begin_again(self) -> None:
        """Forget what is folded, and begin at the checkpoint in Redis."""
        self._forget()
        if self.holds and self._loaded:
            self._restoring.broken()

    def _forget(self) -> None:
        if self._flushing is not None:
            self._flushing.over = True
        self._flushing = None

    def _adopt(self, fold: Fold, found: Found) -> None:
        """Take a fold that was made of a checkpoint, or of the log alone."""
        if not self.holds:
            return
        self._flushing = Flushing(fold, found, self._flush, self._rules, self._shards)
        if found.mark is not None:
            return
        other, why = found.other, "there is no checkpoint"
        if other is not None and other.position is not None:
            why = f"the log after {other.position} was trimmed"
            if (other.rules, other.shards) != (self._rules, self._shards):
                why = "the checkpoint is of other rules"
        if fold.since is not None:
            logger.warning(
                "stream %r: %s, its state is whole since %s", self._stream, why, fold.since
            )

    # Flushing

    async def _flush_while_it_holds(self) -> None:
        while True:
            try:
                await self._hold()
                await self._flush_now()
            except BroadcasterError as error:
                self.failures += 1
                if not self.problem:
                    logger.warning("stream %r is not folded now: %s", self._stream, error)
                self.problem = str(error)
            else:
                self.problem = ""
            if time.monotonic() - self._told_s >= _TELL_S:
                self._tell()
            await asyncio.sleep(FLUSH_S if self.holds else _LOOK_S)

    async def _hold(self) -> None:
        """Take the lock, or keep it for longer when a part of its time has passed."""
        now_s = time.monotonic()
        if self.holds and now_s < self._renew_s:
            return
        held = await self._flush.hold(self._holder, LOCK_S)
        self._renew_s = now_s + LOCK_S / _RENEWALS
        if held != self.holds:
            logger.info("stream %r: %s", self._stream, "folds" if held else "another folder has it")
            self.holds = held
            self.begin_again()

    async def _flush_now(self) -> None:
        """Write what has changed, if there is a fold."""
        flushing = self._flushing
        if flushing is None:
            return
        try:
            self.flushes += await flushing.flush(self._log.status(self._stream).added)
        except NotWrittenError as error:
            self.refused += 1
            # What is not proven may be by the next flush: the tailer finds out what has happened.
            if error.said is Flushed.OVERTAKEN and not flushing.over:
                logger.warning("stream %r: the checkpoint was changed, loading it", self._stream)
                self.begin_again()

    def _tell(self) -> None:
        """Log what became of the flushes, if there were any since the last time."""
        counts, self._told_s = (self.flushes, self.refused, self.failures), time.monotonic()
        if counts != self._told:
            self._told = counts
            text = "stream %r: %d flushes were written, %d refused, and %d have failed"
            logger.info(text, self._stream, *counts)
