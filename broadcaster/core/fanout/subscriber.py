"""A connected client: a position in windows plus a sink. It has no queue. Pure.

state     position                   bytes come from                  leaves it when
LAGGING   its own, of its `resume`   the window or the log, by page   it is at every head: LIVE
LIVE      the heads of its windows   the hub, as batches arrive       its sink is full: LAGGING
ENDED     none                       its farewell                     never
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TypeAlias

from broadcaster.core.access.expiries import Expiries
from broadcaster.core.access.grants import Holder
from broadcaster.core.event import EventId
from broadcaster.core.resume.machine import Resume
from broadcaster.core.subscription import Subscription
from broadcaster.core.wire import Ending

Framing: TypeAlias = Callable[[bytes], bytes]
"""Wraps bytes for the protocol below a sink, such as HTTP chunks. The hub calls it once for all
subscribers with the same function, so all sinks of one kind must share one function."""


def unframed(data: bytes) -> bytes:
    """Return the bytes as they are, for a sink that needs no framing."""
    return data


class State(Enum):
    """The state of a subscriber; see the table above."""

    LAGGING = auto()
    LIVE = auto()
    ENDED = auto()


@dataclass(eq=False, slots=True)
class Subscriber:
    """A connected client.

    Attributes:
        subscription: the request of its client.
        write: puts bytes into its socket's buffer. It never waits and never fails.
        wake: makes its connection take the next step.
        pushed: True if the hub may write to it. Otherwise the hub only wakes it.
        framing: wraps the bytes before `write` gets them.
        with_state: it is sent states; False if it is told only that events may be missing.
        blocked: its socket's buffer is above the high-water mark.
        state: see the table above.
        resume: how it catches up; None unless it is LAGGING.
        tick: the value of the hub's clock at the last write to it.
        last_at: the position that it was last sent without an event; empty if it was sent none.
        ending: why its response is over, once it is ENDED.
        farewell: the last bytes of its response.
        holder: of the grants that it was opened with; None if they name no subject and do not end.
    """

    subscription: Subscription
    write: Callable[[bytes], object]
    wake: Callable[[], object]
    pushed: bool
    framing: Framing = unframed
    holder: Holder | None = None
    with_state: bool = field(default=True, init=False)
    blocked: bool = field(default=False, init=False)
    state: State = field(default=State.LAGGING, init=False)
    resume: Resume | None = field(default=None, init=False)
    tick: int = field(default=0, init=False)
    last_at: bytes = field(default=b"", init=False)
    ending: Ending = field(default=Ending.CLIENT, init=False)
    farewell: bytes = field(default=b"", init=False)


class Subscribers(set[Subscriber]):
    """All subscribers of a hub. It knows which of them follow a run or expire, without a search.

    Attributes:
        expiries: those whose grants end, by that time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.expiries = Expiries[Subscriber]()
        self._of_run: dict[EventId, set[Subscriber]] = {}

    def add(self, subscriber: Subscriber, /) -> None:
        """Add a subscriber."""
        super().add(subscriber)
        if run := subscriber.subscription.run:
            self._of_run.setdefault(run, set()).add(subscriber)
        if subscriber.holder and subscriber.holder.expires_s is not None:
            self.expiries.add(subscriber, subscriber.holder.expires_s)

    def discard(self, subscriber: object, /) -> None:
        """Remove a subscriber, if it is there."""
        super().discard(subscriber)
        assert isinstance(subscriber, Subscriber)
        if (run := subscriber.subscription.run) and run in self._of_run:
            self._of_run[run].discard(subscriber)
            if not self._of_run[run]:
                del self._of_run[run]
        if subscriber.holder and subscriber.holder.expires_s is not None:
            self.expiries.discard(subscriber, subscriber.holder.expires_s)

    @property
    def runs(self) -> tuple[EventId, ...]:
        """Return the runs that have subscribers."""
        return tuple(self._of_run)

    def of_run(self, run: EventId) -> tuple[Subscriber, ...]:
        """Return the subscribers that follow a run."""
        return tuple(self._of_run.get(run, ()))
