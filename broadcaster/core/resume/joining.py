"""The step machine that sends states to a subscriber, before it goes on with events. Pure.

Part of `core.resume.machine`. The states of its streams are cut at one moment, and sent page by
page. Until they are complete, the subscriber is sent nothing of its other streams, and its id says
`state` in place of a position. A client that loses its connection meanwhile comes back with this
id, and is sent the whole state again. With its former position, another node would resume it,
although it has a part of a newer state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from broadcaster.core import sse
from broadcaster.core.cursor import Positions
from broadcaster.core.event import EventId, StateFollows
from broadcaster.core.resume.inquiry import Context
from broadcaster.core.resume.keyed import KeyStates
from broadcaster.core.resume.passing import Passing
from broadcaster.core.resume.resets import Lost
from broadcaster.core.resume.steps import Ask, For, LivePart, Part, Send, StatePart, Wait
from broadcaster.core.shards import without_shard
from broadcaster.core.state.states import Rendering
from broadcaster.core.subscription import Subscription


class Joining:
    """The states that one subscriber is sent.

    Attributes:
        streams: the streams whose state is sent, each with the reason if it is reset first.
        positions: where these streams go on, once their states were cut.
        done: True once everything was sent.
        over: True if the last event that was sent ends the response.
    """

    __slots__ = (
        "_context",
        "_events",
        "_keys",
        "_parts",
        "_passing",
        "_position",
        "_subscription",
        "_told",
        "done",
        "over",
        "positions",
        "streams",
    )

    def __init__(
        self,
        context: Context,
        subscription: Subscription,
        position: Mapping[str, EventId],
        passing: Passing | None,
    ) -> None:
        """Begin without a stream.

        Args:
            context: of the hub.
            subscription: the client's request.
            position: in each of its streams, before the states.
            passing: gathers what follows the states; None if the client has no passes.
        """
        self.streams: dict[str, Lost | None] = {}
        self.positions: Positions = {}
        self.done = self.over = False
        self._events = 0
        self._context = context
        self._subscription = subscription
        self._position = position
        self._passing = passing
        self._keys = KeyStates(context, subscription)
        self._told = set[str]()  # the streams for which the client's id says `state`
        self._parts: Iterator[Part] | None = None

    def add(self, stream: str, lost: Lost | None) -> None:
        """Send the state of a stream, after a reset if there is a reason for one."""
        self.streams[stream] = lost
        if lost is None:
            self._told.add(stream)
        else:
            self._context.resets[stream, lost.reason] += 1

    def at(self) -> bytes:
        """Return the id of a client that has what was sent so far; empty if it has none."""
        for stream, lost in self.streams.items():
            if lost and isinstance(lost.requested, str) and stream not in self._told:
                return b""  # its cursor can't be read, so it has no position there
        return self._subscription.cursor(dict(self._position), self._told)

    def live(self, at: bytes) -> LivePart:
        """Return what completes the states.

        Args:
            at: the id of the position after them.
        """
        data = sse.live(at, self._events)
        if self.over:
            data = sse.retry(self._context.pages.terminal_retry_ms) + data
        return LivePart(data, self._events, at)

    def step(self) -> Send | Ask | Wait:
        """Return the next part, or what has to be done until all of the states can be cut.

        They are cut in one step, so that they and the windows after them are of one moment.
        """
        if self._parts is None:
            states = self._context.states
            missing = tuple(s for s in self.streams if not states.folds[s].offered)
            if missing:
                return Wait(For.STATE, missing)
            first = self._keys.step(self.streams)
            if first is not None:
                return first
            found = {
                stream: self._keys.rendering(stream) or states.rendering(stream, self._subscription)
                for stream in self.streams
            }
            self.positions = {s: rendering.cut.position for s, rendering in found.items()}
            if self._passing:
                self._passing.follow(self.positions)
            self._parts, self._events = self._all(found), 0
        part = next(self._parts, None)
        if part is None:
            self.done = True
            return Send()
        if isinstance(part, StatePart):
            self._events += part.events
            self.over = part.over
            if part.over:  # a client that comes back is known to have seen the end
                self.positions[part.stream] = part.frames()[-1].id
        return Send((part,))

    def rewritten(self, stream: str) -> None:
        """Begin with new cuts, because the history of a stream has changed."""
        if stream in self.streams:
            self._parts, self.over = None, False
            self._keys.forget(stream)

    def _all(self, found: Mapping[str, Rendering]) -> Iterator[Part]:
        """Yield all resets, and then the states."""
        for stream, lost in self.streams.items():
            if lost is not None:
                self._told.add(stream)
                yield lost.part(stream, found[stream].cut.position, self.at(), state=True)
        for stream, rendering in found.items():
            yield from _state(stream, rendering, self.at())


def _state(stream: str, rendering: Rendering, at: bytes) -> Iterator[StatePart]:
    cut, number = rendering.cut, 0
    since = "" if cut.since is None else str(cut.since)
    begins: StateFollows | None
    begins = StateFollows(*without_shard(stream), rendering.keys, since, cut.too_large)
    data = sse.state(begins, at)
    while (page := rendering.page(number)) is not None:
        yield StatePart(data + page.data, stream, *page[1:], begins, rendering.over, at)
        data, begins, at, number = b"", None, b"", number + 1
    if begins is not None:
        yield StatePart(data, stream, 0, tuple, begins, over=False, at=at)
