"""Takes the steps of one subscriber, for a connection or a reader. Pure.

A driver asks the log when a step has a question. It lets its subscriber rest if a filter leaves out
much of what was read for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from broadcaster.core.fanout.hub import Hub
from broadcaster.core.fanout.subscriber import Subscriber
from broadcaster.core.fanout.turns import Reader
from broadcaster.core.resume.machine import Resume
from broadcaster.core.resume.steps import Ask


class Asking(Protocol):
    """A question that is on its way, or a rest."""

    def cancel(self) -> object:
        """Drop the question. Its answer is not needed any more."""


class AsksLog(Protocol):
    """Asks the log for subscribers."""

    def ask(
        self, resume: Resume, ask: Ask, wake: Callable[[], object], reader: Reader | None
    ) -> Asking:
        """Send a question. When the answer comes, `resume` gets it and `wake` is called."""

    def rest(self, reader: Reader, wake: Callable[[], object]) -> Asking:
        """Call `wake` when a client may have its next page of the windows."""


@dataclass(eq=False)
class Driver:
    """A subscriber, its open questions to the log, and its rests.

    Attributes:
        subscriber: as the hub knows it, once it was added there.
        _hub: holds the windows of the streams.
        _questions: asks the log for what the windows do not hold.
        _asking: the newest question of each stream.
        _reader: the client that asks. It is made when it asks, as most clients never do.
        _resting: the rest that it takes.
    """

    _hub: Hub
    _questions: AsksLog
    subscriber: Subscriber
    _asking: dict[str, Asking] | None = field(default=None, init=False)
    _reader: Reader | None = field(default=None, init=False)
    _resting: Asking | None = field(default=None, init=False)

    def _new_reader(self) -> Reader | None:
        """Return the client that asks; None if it is in this process."""
        return None

    def _ask(self, ask: Ask) -> None:
        """Send a question of the subscriber. Its answer goes to the step machine."""
        resume = self.subscriber.resume
        assert resume is not None
        self._reader = self._reader or self._new_reader()
        asking = self._questions.ask(resume, ask, self.subscriber.wake, self._reader)
        if self._asking is None:
            self._asking = {}
        self._asking[ask.stream] = asking

    def _rest(self, cost_s: float, left_out: float) -> None:
        """Take the next step only after a rest, in proportion to what this one has cost in vain.

        Args:
            cost_s: seconds of the node's time.
            left_out: the share of events that the filter has left out.
        """
        self._reader = reader = self._reader or self._new_reader()
        if reader is not None:
            reader.charge(cost_s)
            reader.sent(1.0 - left_out)
            self._resting = self._questions.rest(reader, self._rested)

    def _rested(self) -> None:
        self._resting = None
        self.subscriber.wake()

    def _stop_asking(self) -> None:
        if self._resting is not None:
            self._resting.cancel()
        for asking in (self._asking or {}).values():
            asking.cancel()
        self._asking = None
