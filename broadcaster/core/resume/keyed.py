"""The states of single keys, where the state of a stream is too large to be kept in memory. Pure.

Part of `core.resume.joining`. The log is asked for the checkpoint of the keys. What has come after
it is read in pages up to the window, and folded. What the window has is folded last, when all
streams of a subscriber are ready. So the state is that of the head.
"""

from __future__ import annotations

from collections.abc import Collection

from broadcaster.core.event import ZERO, EventId
from broadcaster.core.history.window import Place, Window
from broadcaster.core.log import AnyAnswer, KeyState, PageAfter, Past, StateOf
from broadcaster.core.resume.inquiry import Context
from broadcaster.core.resume.steps import Ask, For, Wait
from broadcaster.core.sse import Frame, skipped
from broadcaster.core.state.fold import Fold
from broadcaster.core.state.states import Rendering
from broadcaster.core.subscription import Subscription


class _Keyed:
    """The keys of one stream.

    Attributes:
        keys: of the subscription.
        ask: the open question; None if there is none.
        fold: of these keys; None before the first answer.
        position: the fold has the events of the log up to here.
        newest: the newest event that is part of a value.
        unknown: True if there is no state of these keys.
        overtaken: True if the checkpoint was asked for again, because the log after it was trimmed.
    """

    __slots__ = ("ask", "fold", "keys", "newest", "overtaken", "position", "unknown")

    def __init__(self, keys: frozenset[str]) -> None:
        self.keys = keys
        self.ask: Ask | None = None
        self.fold: Fold | None = None
        self.position = self.newest = ZERO
        self.unknown = self.overtaken = False

    def begin(self, fold: Fold, answer: AnyAnswer, window: Window) -> None:
        """Take a checkpoint. The log after it may be proven by another position."""
        if not isinstance(answer, KeyState):
            self.unknown = True
            return
        position, start, self.newest, since, values = answer
        if window.place(position) not in (Place.COVERED, Place.AHEAD):
            if start is None:
                self.miss()
                return
            position = window.floor if position <= window.floor <= start else start
        fold.load(answer.position, since, values)
        self.fold, self.position = fold, position

    def apply(self, answer: AnyAnswer) -> None:
        """Fold a page of the log."""
        if not isinstance(answer, Past) or not answer.proven or not answer.frames:
            self.miss()
            return
        self.fold_in(answer.frames, answer.end)

    def miss(self) -> None:
        """Begin anew, because a part of the log is missing that a newer checkpoint may have.

        When this is called again, the state is unknown.
        """
        self.unknown, self.overtaken = self.overtaken, True
        self.fold, self.position, self.newest = None, ZERO, ZERO

    def fold_in(self, frames: Collection[Frame], end: EventId) -> None:
        """Fold events that come next, up to a position."""
        assert self.fold is not None
        self.fold.apply([*(f for f in frames if f.key in self.keys), skipped(end)])
        self.position = end


class KeyStates:
    """The states of the keys of one subscriber, in the streams whose state is too large."""

    __slots__ = ("_context", "_keyed", "_subscription")

    def __init__(self, context: Context, subscription: Subscription) -> None:
        """Begin without a question."""
        self._context = context
        self._subscription = subscription
        self._keyed: dict[str, _Keyed] = {}

    def step(self, streams: Collection[str]) -> Ask | Wait | None:
        """Return what has to be asked or awaited first; None if everything is there.

        Args:
            streams: of which the subscriber gets the state. Their folds are offered.
        """
        asks, late = False, list[str]()
        for stream in streams:
            keyed = self._of(stream)
            if keyed is None or keyed.unknown:
                continue
            if keyed.ask is None and (question := self._question(stream, keyed)) is not None:
                keyed.ask = Ask(stream, question, self)
                return keyed.ask
            asks = asks or keyed.ask is not None
            if max(keyed.position, keyed.newest) > self._context.windows[stream].head:
                late.append(stream)  # the tailer has not read all that the checkpoint has
        return Wait(For.STATE, tuple(late)) if asks or late else None

    def _of(self, stream: str) -> _Keyed | None:
        """Return the keys of a stream; None if the subscriber gets its usual state."""
        keys = self._subscription.keys_of[self._subscription.streams.index(stream)]
        if not keys or not self._context.states.folds[stream].too_large:
            return None
        return self._keyed.setdefault(stream, _Keyed(keys))

    def _question(self, stream: str, keyed: _Keyed) -> StateOf | PageAfter | None:
        """Return what has to be asked; None if the window has the rest, or nothing is known."""
        if keyed.fold is not None:
            place = self._context.windows[stream].place(keyed.position)
            if place is not Place.UNKNOWN:
                return PageAfter(keyed.position) if place is Place.BEHIND else None
            keyed.miss()
        return None if keyed.unknown else StateOf(keyed.keys)

    def answered(self, ask: Ask, answer: AnyAnswer) -> bool:
        """Take the log's answer. One that is not awaited any more is ignored. Return True."""
        keyed = self._keyed.get(ask.stream)
        if keyed is not None and keyed.ask is ask:
            keyed.ask = None
            if isinstance(ask.question, StateOf):
                rules = self._context.states.folds[ask.stream].rules
                keyed.begin(Fold(rules), answer, self._context.windows[ask.stream])
            else:
                keyed.apply(answer)
        return True

    def failed(self, ask: Ask) -> None:
        """Ask again at the next step: the log could not answer."""
        keyed = self._keyed.get(ask.stream)
        if keyed is not None and keyed.ask is ask:
            keyed.ask = None

    def rendering(self, stream: str) -> Rendering | None:
        """Return the state of the keys at the head; None if the subscriber gets the usual one."""
        keyed = self._keyed.get(stream)
        if keyed is None or keyed.unknown:
            return None
        assert keyed.fold is not None
        window, more = self._context.windows[stream], True
        while more:
            frames, is_all = window.after(keyed.position, keyed.keys)
            keyed.fold_in(frames, window.head if is_all else frames[-1].id)
            more = not is_all
        return Rendering(stream, keyed.fold.cut(), self._subscription)

    def forget(self, stream: str) -> None:
        """Begin anew with a stream, because its history has changed."""
        self._keyed.pop(stream, None)
