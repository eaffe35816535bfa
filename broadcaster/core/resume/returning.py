"""Finds out if a client that comes back has seen the end of what it follows. Pure.

Part of `core.resume.opening`. The answer is in memory, or is the entry at the client's position.
Where the entry is gone and the state is too large for memory, the checkpoint says how the key has
ended.
"""

from __future__ import annotations

from broadcaster.core.event import ZERO, EventId
from broadcaster.core.history.window import Place
from broadcaster.core.log import AnyAnswer, AnyQuestion, Entry, KeyState, StateOf
from broadcaster.core.resume.inquiry import Context
from broadcaster.core.resume.rules import STARTS, Outcome, Said, Situation
from broadcaster.core.sse import Frame
from broadcaster.core.subscription import Subscription


class Returning:
    """A client with a position in one stream, whose subscription can be over.

    Attributes:
        over: True if it has seen the end; None until that is known.
        seen: the event at its position, if that was looked for and is there.
    """

    def __init__(self, context: Context, subscription: Subscription, position: EventId) -> None:
        """Know nothing yet.

        Args:
            context: of the hub.
            subscription: to one stream, with terminal types.
            position: of the client.
        """
        (self.stream,) = subscription.streams
        self.over: bool | None = None
        self.seen: Frame | None = None
        self._context = context
        self._subscription = subscription
        self._position = position
        self._gone = False

    def asks(self) -> Situation | None:
        """Return the situation that has to be asked about next; None if `over` is known."""
        if self.over is not None:
            return None
        if self._gone:
            return Situation.RETURNING_LATE
        if self._context.states.is_over(self.stream, self._subscription.keys, self._position):
            self.over = True
            return None
        position, window = self._position, self._context.windows[self.stream]
        frame = window.get(position)
        # The window holds the entries after its floor, but the floor's own entry was evicted.
        at_floor = position == window.floor != ZERO
        if frame is None and (at_floor or window.place(position) is not Place.COVERED):
            return Situation.RETURNING
        self._see(frame)
        return None

    def question(self) -> AnyQuestion:
        """Return the question of the situation."""
        return StateOf(self._subscription.keys) if self._gone else Entry(self._position)

    def answered(self, answer: AnyAnswer) -> None:
        """Take the answer to the question."""
        if self._gone:
            self._decide(Situation.RETURNING_LATE, is_end=self._has_ended(answer))
            return
        self._see(answer if isinstance(answer, Frame) else None)
        fold = self._context.states.folds.get(self.stream)
        if self.seen is None and fold is not None and fold.too_large:
            self.over, self._gone = None, True

    def _see(self, frame: Frame | None) -> None:
        self.seen = frame
        is_end = frame is not None and self._subscription.ends_with(frame)
        self._decide(Situation.RETURNING, is_end=is_end)

    def _has_ended(self, answer: AnyAnswer) -> bool:
        """Return True if a checkpoint says that the key is over, and the client has seen that."""
        newest = max(answer.values, default=None) if isinstance(answer, KeyState) else None
        if newest is None or newest.type not in self._subscription.terminal:
            return False
        return self._context.states.has_seen(self.stream, newest.id, self._position)

    def _decide(self, situation: Situation, *, is_end: bool) -> None:
        then = STARTS[situation].then[Said.YES if is_end else Said.NO]
        self.over = then is Outcome.OVER
