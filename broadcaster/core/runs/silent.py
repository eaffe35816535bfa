"""The runs of a node's clients that have no event yet: perhaps no worker has them. Pure.

A client must not wait in silence. So the node looks at such runs now and then, and sends
`stream.waiting` to the followers of those that no worker has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from broadcaster.core.event import EventId

LOOK_S = 2.0
"""Seconds after which a node looks again whether a worker has a run."""
AT_ONCE = 500
"""The most runs that a node looks at in one question. The others come next."""
PATIENCE_MS = 1_000
"""Milliseconds for which a run may be without a worker before its clients are sent an event."""


class Waiting(NamedTuple):
    """A run that no worker has.

    Attributes:
        waited_ms: the time for which none has had it.
        left_ms: the time that is left before the run fails; 0 or less if that time is over.
    """

    waited_ms: int
    left_ms: int

    @property
    def worth_telling(self) -> bool:
        """Return True if its clients should be sent `stream.waiting`."""
        return self.waited_ms >= PATIENCE_MS and self.left_ms > 0


class _Looked(NamedTuple):
    at_s: float
    followers: int


class SilentRuns:
    """The times at which each run was looked at. The caller passes the current time."""

    def __init__(self) -> None:
        """Begin without runs."""
        self._looked: dict[EventId, _Looked] = {}

    def due(self, now_s: float, followers: Mapping[EventId, int]) -> list[EventId]:
        """Return the runs to look at now, those first that were not looked at for longest.

        Args:
            now_s: seconds of a clock that never goes back.
            followers: the number of clients of each silent run. Others are forgotten. A run with
                more clients than before is due at once, so that the newcomers need not wait.
        """
        never = _Looked(-LOOK_S, 0)
        known = {run: self._looked.get(run, never) for run in followers}
        due = sorted(
            (looked.at_s, run)
            for run, looked in known.items()
            if followers[run] > looked.followers or now_s >= looked.at_s + LOOK_S
        )
        chosen = [run for _, run in due[:AT_ONCE]]
        kept = {
            run: _Looked(looked.at_s, min(looked.followers, followers[run]))
            for run, looked in known.items()
        }
        self._looked = kept | {run: _Looked(now_s, followers[run]) for run in chosen}
        return chosen
