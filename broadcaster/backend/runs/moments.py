"""Spreads the times at which the texts of runs leave, over ten moments. Pure. Part of `backend`.

Without it, runs that share a pipeline once would share all later ones, and more and more runs would
join them. A first text that comes meanwhile would have to wait for a long pipeline. So there are
ten moments in `batch_s`. Each run has one of them, and keeps it. There are no more, because a
pipeline costs more than several batches in it.
"""

from __future__ import annotations

import math

_MOMENTS = 10


class Moments:
    """Gives each run the times at which its batches may leave."""

    def __init__(self, batch_s: float) -> None:
        """Begin without runs.

        Args:
            batch_s: seconds for which the texts of a run are gathered.
        """
        self._batch_s = batch_s
        self._newest = 0  # the moment of the last run that has begun

    def after(self, due_s: float, sent_s: float) -> float:
        """Return when the next batch of a run may leave.

        Args:
            due_s: the time from which on the last one might leave; minus infinity for the first.
            sent_s: the time at which the last one has left.
        """
        if due_s > sent_s:  # it was hurried
            return due_s
        if due_s + self._batch_s > sent_s:
            return due_s + self._batch_s
        if not self._batch_s:
            return sent_s
        # It begins, or has been silent: it gets the next moment, which may come sooner.
        self._newest = (self._newest + 1) % _MOMENTS
        part = self._newest / _MOMENTS
        return (math.floor(sent_s / self._batch_s - part) + 1 + part) * self._batch_s
