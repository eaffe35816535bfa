"""Takes the steps of one subscriber, for whatever sends what they have. Pure.

A driver asks the log when a step wants that, and lets its subscriber rest if a filter leaves out
much of what it is read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from broadcaster.core.hub import Hub
from broadcaster.core.resume import Resume
from broadcaster.core.steps import Ask, Send, Wait
from broadcaster.core.subscriber import Subscriber
from broadcaster.core.turns import Reader


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


class Driver:
    """A subscriber, its open questions to the log, and its rests.

    Attributes:
        subscriber: as the hub knows it, once it was added there.
    """

    def __init__(self, hub: Hub, questions: AsksLog, subscriber: Subscriber) -> None:
        """Store the arguments.

        Args:
            hub: holds the windows of the streams.
            questions: asks the log for what the windows do not hold.
            subscriber: a new one.
        """
        self.subscriber = subscriber
        self._hub = hub
        self._questions = questions
        self._asking: dict[str, Asking] | None = None  # the newest question of each stream
        self._reader: Reader | None = None  # made when it asks, as most clients never do
        self._resting: Asking | None = None

    def _new_reader(self) -> Reader | None:
        """Return the client that asks; None if it is in this process."""
        return None

    def _step(self, max_bytes: int) -> Send | Wait:
        """Take a step of a LAGGING subscriber; see `Hub.advance`. Its questions are sent."""
        while isinstance(step := self._hub.advance(self.subscriber, max_bytes), Ask):
            resume = self.subscriber.resume
            assert resume is not None
            self._reader = self._reader or self._new_reader()
            asking = self._questions.ask(resume, step, self.subscriber.wake, self._reader)
            if self._asking is None:
                self._asking = {}
            self._asking[step.stream] = asking
        return step

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
