"""Pages: the events after a position, joined to the bytes that a subscriber catches up with. Pure.

When a node is lost, thousands of clients come back that were all at the same place, and want the
same bytes. So each page is made once, and kept until a window changes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple, TypeAlias

from broadcaster.core.cursor import Positions
from broadcaster.core.event import EventId
from broadcaster.core.sse import Frame
from broadcaster.core.subscription import Subscription
from broadcaster.core.window import Window

PAGE_BYTES = 256 * 1024
_KEPT = 16  # of at most PAGE_BYTES each
_id = attrgetter("id")

Placed: TypeAlias = tuple[str, Frame]
"""A frame, and its stream."""

_Wanted: TypeAlias = tuple[Subscription, tuple[EventId, ...], tuple[str, ...], int]


class Page(NamedTuple):
    """What a subscriber is sent in one piece.

    Attributes:
        data: its bytes.
        events: how many there are in it.
        positions: where it leads to.
        exhausted: nothing follows it in the windows.
        over: the response ends with it.
        placed: its events, in order.
    """

    data: bytes
    events: int
    positions: Positions
    exhausted: bool
    over: bool
    placed: Sequence[Placed] = ()


class Pages:
    """Makes pages out of windows."""

    def __init__(self, windows: Mapping[str, Window]) -> None:
        self._windows = windows
        self._kept: dict[_Wanted, Page] = {}

    def forget(self) -> None:
        """A window has changed."""
        self._kept.clear()

    def after(
        self,
        subscription: Subscription,
        positions: Positions,
        streams: Sequence[str],
        max_bytes: int = PAGE_BYTES,
    ) -> Page:
        """The page after COVERED positions.

        It has about as many bytes as it may, but at least one event if there is one; or none, if
        the filter leaves out all of a part of the window.

        Args:
            subscription: whose filter and kind of id it has.
            positions: in each stream of the subscription.
            streams: those of them whose positions are COVERED; the page is of these.
            max_bytes: about the most bytes.
        """
        at = tuple(positions[name] for name in subscription.streams)
        wanted = subscription, at, tuple(streams), max_bytes
        page = self._kept.get(wanted)
        if page is None:
            page = self._made(subscription, positions, streams, max_bytes)
            if page.events:
                if len(self._kept) >= _KEPT:
                    self._kept.clear()
                self._kept[wanted] = page
        return page

    def _made(
        self,
        subscription: Subscription,
        positions: Positions,
        streams: Sequence[str],
        max_bytes: int,
    ) -> Page:
        parts = {
            name: self._windows[name].after(positions[name], subscription.keys, max_bytes)
            for name in streams
        }
        # What one stream has beyond the part of another waits for the rest of that one.
        cuts = [found[-1].id for found, exhausted in parts.values() if not exhausted]
        cut = min(cuts, default=None)
        ends, merged = dict(positions), []
        for stream, (found, exhausted) in parts.items():
            taken = found if cut is None else found[: bisect_right(found, cut, key=_id)]
            merged += [(frame.id, stream, frame) for frame in taken]
            if exhausted and len(taken) == len(found):
                ends[stream] = self._windows[stream].head
            elif taken:
                ends[stream] = taken[-1].id
        merged.sort()
        page = page_of(subscription, positions, [(stream, frame) for _, stream, frame in merged])
        if page.over:
            return page
        # Past what the filter has left out, too.
        return page._replace(positions=ends, exhausted=cut is None)


def page_of(subscription: Subscription, positions: Positions, placed: Iterable[Placed]) -> Page:
    """The page of those of the frames that a subscription wants, up to one that ends it.

    Args:
        subscription: whose filter and kind of id it has.
        positions: before the first frame.
        placed: the frames, in the order in which they are sent.
    """
    selected, over = [], False
    for stream, frame in placed:
        if subscription.accepts(frame) and frame.wire:
            selected.append((stream, frame))
            over = subscription.ends_with(frame)
            if over:
                break
    reached = dict(positions)
    data = join(reached, subscription, selected)
    return Page(data, len(selected), reached, exhausted=True, over=over, placed=selected)


def join(positions: Positions, subscription: Subscription, placed: Sequence[Placed]) -> bytes:
    """Join frames under the subscription's kind of id; the positions move along."""
    if not subscription.named:
        for stream, frame in placed[-1:]:
            positions[stream] = frame.id
        return b"".join([frame.wire for _, frame in placed])
    parts = []
    for stream, frame in placed:
        positions[stream] = frame.id
        parts.append(frame.with_cursor(subscription.cursor(positions)))
    return b"".join(parts)
