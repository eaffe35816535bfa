"""One subscriber's passes: it decides when a pass begins, and makes the pages of it. Pure.

Part of `core.resume`. A pass begins if what follows the position does not fit in one page. So a
client that lags a little is sent every event, as one that is live.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from broadcaster.core import sse
from broadcaster.core.channel import without_shard
from broadcaster.core.cursor import Positions
from broadcaster.core.event import EventId, Superseded
from broadcaster.core.inquiry import Context
from broadcaster.core.page import Page
from broadcaster.core.passes import Gathering, Pass
from broadcaster.core.subscription import Subscription
from broadcaster.core.window import Place


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

    def holds(self, stream: str, position: EventId) -> bool:
        """Return True if what follows a position is held here, whatever the window drops."""
        pass_ = self._now.get(stream)
        if pass_ is None:
            return False
        gathering = self._next.get(stream)
        if gathering is not None and not gathering.catch_up():
            del self._next[stream]
        held = position < pass_.end or stream in self._next
        if not held:
            del self._now[stream]
        return held

    def after(self, positions: Positions, streams: Sequence[str], max_bytes: int) -> Page:
        """Return the page after positions that are COVERED, or held here.

        Args:
            positions: one for each stream of the subscription.
            streams: those whose positions are COVERED or held. The page has events of these only.
            max_bytes: about the most bytes.
        """
        pages, subscription = self._context.pages, self._subscription
        for stream in [s for s, pass_ in self._now.items() if positions[s] >= pass_.end]:
            del self._now[stream]
        due = [s for s in streams if s in self._streams and s not in self._now]
        if not self._now and not any(self._is_beyond(s, positions[s]) for s in due):
            page = pages.after(subscription, positions, streams, max_bytes)
            if not due or page.exhausted or page.over:
                self._next.clear()
                return page
        begun = {stream: self._begin(stream, positions[stream]) for stream in due}
        page = pages.after(subscription, positions, streams, max_bytes, self._now)
        return _announced(page, begun, subscription.cursor(positions))

    def _is_beyond(self, stream: str, position: EventId) -> bool:
        """Return True if the window does not hold what follows a position."""
        return self._context.windows[stream].place(position) is not Place.COVERED

    def _begin(self, stream: str, position: EventId) -> Pass:
        passes = self._context.states.passes
        gathering = self._next.pop(stream, None)
        if gathering is None:
            gathering = passes.gathering(stream, self._subscription, position)
        begun = self._now[stream] = gathering.cut()
        self._next[stream] = passes.gathering(stream, self._subscription, begun.end)
        passes.superseded[stream] += begun.superseded
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
    left_out = sum(of.events for of in told)
    return page._replace(
        data=b"".join(sse.superseded(of, at) for of in told) + page.data,
        superseded=told,
        left_out=left_out / (left_out + sum(len(pass_.frames) for pass_ in begun.values())),
    )
