"""The step machine that sends states to a subscriber, before it goes on with events. Pure.

Part of `core.resume`. The states of its streams are cut at one moment, and sent page by page. Until
they are complete, the subscriber is sent no id, and nothing of its other streams: a client that
loses its connection meanwhile has no position that lies after half a state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from broadcaster.core import sse
from broadcaster.core.channel import without_shard
from broadcaster.core.cursor import Positions
from broadcaster.core.event import StateFollows
from broadcaster.core.inquiry import Context
from broadcaster.core.resets import Lost
from broadcaster.core.states import Rendering
from broadcaster.core.steps import For, LivePart, Part, Send, StatePart, Wait
from broadcaster.core.subscription import Subscription


class Joining:
    """The states that one subscriber is sent.

    Attributes:
        streams: those whose state is sent. If one is reset first, it has the reason.
        positions: where these streams go on, once their states were cut.
        done: True once everything was sent.
        over: True if the last event that was sent ends the response.
    """

    __slots__ = (
        "_context",
        "_events",
        "_parts",
        "_subscription",
        "done",
        "over",
        "positions",
        "streams",
    )

    def __init__(self, context: Context, subscription: Subscription) -> None:
        """Begin without a stream."""
        self.streams: dict[str, Lost | None] = {}
        self.positions: Positions = {}
        self.done = self.over = False
        self._events = 0
        self._context = context
        self._subscription = subscription
        self._parts: Iterator[Part] | None = None

    def add(self, stream: str, lost: Lost | None) -> None:
        """Send the state of a stream, after a reset if there is a reason for one."""
        self.streams[stream] = lost
        if lost is not None:
            self._context.resets[stream, lost.reason] += 1

    def live(self, at: bytes) -> LivePart:
        """Return what completes the states.

        Args:
            at: the id of the position after them.
        """
        data = sse.live(at, self._events)
        if self.over:
            data = sse.retry(self._context.pages.terminal_retry_ms) + data
        return LivePart(data, self._events, at)

    def step(self) -> Send | Wait:
        """Return the next part, or wait until all of the states can be cut.

        They are cut in one step, so that they and the windows after them are of one moment.
        """
        if self._parts is None:
            states = self._context.states
            missing = tuple(s for s in self.streams if not states.folds[s].offered)
            if missing:
                return Wait(For.STATE, missing)
            found = {s: states.rendering(s, self._subscription) for s in self.streams}
            self.positions = {s: rendering.cut.position for s, rendering in found.items()}
            self._parts, self._events = _parts(found, self.streams), 0
        part = next(self._parts, None)
        if part is None:
            self.done = True
            return Send()
        if isinstance(part, StatePart):
            self._events += len(part.frames)
            self.over = part.over
        return Send((part,))

    def rewritten(self, stream: str) -> None:
        """Begin with new cuts, because the history of a stream has changed."""
        if stream in self.streams:
            self._parts, self.over = None, False


def _parts(found: Mapping[str, Rendering], streams: Mapping[str, Lost | None]) -> Iterator[Part]:
    """Yield all resets, and then the states."""
    for stream, lost in streams.items():
        if lost is not None:
            yield lost.part(stream, found[stream].cut.position, b"", state=True)
    for stream, rendering in found.items():
        yield from _state(stream, rendering)


def _state(stream: str, rendering: Rendering) -> Iterator[StatePart]:
    cut, number = rendering.cut, 0
    since = "" if cut.since is None else str(cut.since)
    begins: StateFollows | None
    begins = StateFollows(*without_shard(stream), rendering.keys, since, cut.too_large)
    data = sse.state(begins)
    while (page := rendering.page(number)) is not None:
        yield StatePart(data + page.data, stream, page.frames, begins, rendering.over)
        data, begins, number = b"", None, number + 1
    if begins is not None:
        yield StatePart(data, stream, (), begins, over=False)
