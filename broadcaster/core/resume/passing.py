"""One subscriber's passes: it decides when a pass begins, and makes the pages of it. Pure.

Part of `core.resume.machine`. A pass begins if the events of a stream that a client is to be sent
do not fit in one page. So a client that lags a little is sent every event, like one that is live.
Each stream has passes of its own.

The next pass of a stream is gathered while a pass, or the state of the stream, is sent. All work is
done by the subscriber's own steps, in slices: a step that only gathers sends nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from broadcaster.core import sse
from broadcaster.core.cursor import Positions
from broadcaster.core.event import EventId, Superseded
from broadcaster.core.resume.inquiry import Context
from broadcaster.core.resume.page import Page
from broadcaster.core.shards import without_shard
from broadcaster.core.state.passes import Gathering, Pass
from broadcaster.core.subscription import Subscription

SPARE_BYTES = 1 << 20
"""A pass may exceed the state by this many bytes. If it is larger, the state is sent instead."""


class Passing:
    """The passes of one subscriber, by stream."""

    __slots__ = ("_context", "_next", "_now", "_streams", "_subscription")

    def __init__(self, context: Context, subscription: Subscription) -> None:
        """Begin without a pass.

        Args:
            context: of the hub.
            subscription: the client's request.
        """
        self._context = context
        self._subscription = subscription
        self._streams = context.states.passes.streams
        self._now: dict[str, Pass] = {}
        self._next: dict[str, Gathering] = {}

    def gather(self) -> bool:
        """Take in a slice of what has come for the next passes. Return True if more is left."""
        for stream, gathering in tuple(self._next.items()):
            if gathering.gather():
                return True
            if gathering.lost:
                del self._next[stream]
        return False

    def holds(self, stream: str, position: EventId) -> bool:
        """Return True if what follows a position is held here, whatever the window drops."""
        pass_, gathering = self._now.get(stream), self._next.get(stream)
        in_pass = pass_ is not None and position < pass_.end
        return in_pass or (gathering is not None and gathering.after == position)

    def is_full(self, stream: str, position: EventId) -> bool:
        """Return True if the state should be sent, because the pass after a position is larger."""
        gathering = self._next.get(stream)
        at_it = gathering is not None and gathering.full and gathering.after == position
        if not at_it or not self.has_state(stream):
            return False
        # The shared state may end at this position, and then the client would get nothing new.
        self._context.states.forget(stream, self._subscription)
        return True

    def has_state(self, stream: str) -> bool:
        """Return True if the state of a stream can be sent in the place of a pass."""
        return stream in self._streams and self._context.states.is_whole(stream)

    def follow(self, positions: Mapping[str, EventId]) -> None:
        """Gather what follows the states that are sent now: they are passes without frames.

        Args:
            positions: of the states, by stream.
        """
        for stream, position in positions.items():
            if stream in self._streams:
                self._now.pop(stream, None)
                self._next[stream] = self._gathering(stream, position)

    def after(self, positions: Positions, streams: Sequence[str], max_bytes: int) -> Page:
        """Return the page after positions that are COVERED, or held here.

        It is empty, and not exhausted, if more has to be gathered first.

        Args:
            positions: one for each stream of the subscription.
            streams: those whose positions are COVERED or held. The page has events of these only.
            max_bytes: about the most bytes.
        """
        pages, subscription = self._context.pages, self._subscription
        for stream in [s for s, pass_ in self._now.items() if positions[s] >= pass_.end]:
            del self._now[stream]
        due = [s for s in streams if s in self._streams and s not in self._now]
        if not self._now and self._next.keys().isdisjoint(due):
            page = pages.after(subscription, positions, streams, max_bytes)
            if not due or page.exhausted or page.over:
                return page
        for stream in due:
            if stream not in self._next and not self._fits(stream, positions[stream], max_bytes):
                self._next[stream] = self._gathering(stream, positions[stream])
        if self.gather():
            return Page(b"", 0, positions, exhausted=False, over=False, left_out=1.0)
        begun = {stream: self._begin(stream, max_bytes) for stream in due if stream in self._next}
        page = pages.after(subscription, positions, streams, max_bytes, self._now)
        if page.exhausted:
            self._now.clear()
            self._next.clear()
        return _announced(page, begun, subscription.cursor(positions))

    def _fits(self, stream: str, position: EventId, max_bytes: int) -> bool:
        """Return True if a page holds what follows a position in the window."""
        keys = self._subscription.keys_of[self._subscription.streams.index(stream)]
        return self._context.windows[stream].after(position, keys, max_bytes)[1]

    def _gathering(self, stream: str, after: EventId) -> Gathering:
        states = self._context.states
        fold = states.folds[stream]
        most = fold.bytes if states.is_whole(stream) else fold.rules.max_bytes
        return states.passes.gathering(stream, self._subscription, after, most + SPARE_BYTES)

    def _begin(self, stream: str, max_bytes: int) -> Pass:
        begun = self._now[stream] = self._next[stream].cut(max_bytes)
        self._next[stream] = self._gathering(stream, begun.end)
        self._context.states.passes.superseded[stream] += begun.superseded
        return begun

    def rewritten(self, stream: str) -> None:
        """Drop the pass of a stream, because its history has changed."""
        self._now.pop(stream, None)
        self._next.pop(stream, None)


def _announced(page: Page, begun: Mapping[str, Pass], at: bytes) -> Page:
    """Return a page that first says what the passes that begin with it leave out.

    Args:
        page: the first one of these passes.
        begun: the passes, by stream.
        at: the position before it. Some clients forget theirs at an event without an id.
    """
    told = [
        Superseded(*without_shard(stream), pass_.superseded)
        for stream, pass_ in begun.items()
        if pass_.superseded
    ]
    if not told:
        return page
    data = b"".join(sse.superseded(of, at) for of in told) + page.data
    return page._replace(data=data, superseded=told)
