"""Pages: the events after a position, joined to the bytes that a subscriber catches up with. Pure.

After a node fails, thousands of clients reconnect with the same cursor. They need the same bytes,
so each page is built once, and kept until a window changes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple, TypeAlias

from broadcaster.core.cursor import Positions
from broadcaster.core.event import EventId, Superseded
from broadcaster.core.history.window import Window
from broadcaster.core.log import Past
from broadcaster.core.sse import Frame
from broadcaster.core.state.passes import Pass
from broadcaster.core.subscription import Subscription

TERMINAL_RETRY_MS = 30_000
"""The reconnection time that a terminal event carries, if none is set."""
PAGE_BYTES = 256 * 1024
_KEPT = 16  # of at most PAGE_BYTES each
_id = attrgetter("id")

Placed: TypeAlias = tuple[str, Frame]
"""A frame, and its stream."""

_Wanted: TypeAlias = tuple[
    Subscription, tuple[EventId, ...], tuple[str, ...], int, tuple[Pass | None, ...]
]
_NO_PASSES: Mapping[str, Pass] = {}


class Page(NamedTuple):
    """Bytes that a subscriber is sent in one piece.

    Attributes:
        data: the bytes.
        events: the number of events in them.
        positions: the subscriber's positions after it.
        exhausted: True if nothing follows it in the windows.
        over: True if the response ends with it.
        placed: its events, in order.
        left_out: the share of events in its part of the windows that it leaves out.
        superseded: what its bytes say first: events that were skipped.
    """

    data: bytes
    events: int
    positions: Positions
    exhausted: bool
    over: bool
    placed: Sequence[Placed] = ()
    left_out: float = 0.0
    superseded: Sequence[Superseded] = ()


class Pages:
    """Makes pages from windows, and shares them among subscribers with equal needs.

    Attributes:
        terminal_retry_ms: reconnection time that a terminal event carries.
    """

    def __init__(
        self, windows: Mapping[str, Window], terminal_retry_ms: int = TERMINAL_RETRY_MS
    ) -> None:
        """Make pages from these windows.

        Args:
            windows: of all streams, by name.
            terminal_retry_ms: reconnection time that a terminal event carries. A client that comes
                back at once would only get 204, and some clients come back for ever.
        """
        self._windows = windows
        self.terminal_retry_ms = terminal_retry_ms
        self._kept: dict[_Wanted, Page] = {}
        self._untyped: dict[EventId, Frame] = {}  # of the newest batch, made when wanted

    def forget(self) -> None:
        """Drop the kept pages, because a window has changed."""
        self._kept.clear()
        self._untyped.clear()

    def after(
        self,
        subscription: Subscription,
        positions: Positions,
        streams: Sequence[str],
        max_bytes: int = PAGE_BYTES,
        passes: Mapping[str, Pass] = _NO_PASSES,
    ) -> Page:
        """Return the page after COVERED positions.

        The page has at least one event if one follows in the part of the window that it covers. It
        is empty if the filter leaves out that whole part.

        Args:
            subscription: its filter selects the events, and its kind of id is written.
            positions: one for each stream of the subscription.
            streams: the streams whose positions are COVERED. The page has events of these only.
            max_bytes: about the most bytes.
            passes: of the streams whose events come from a pass, and not from the window.
        """
        at = tuple(positions[name] for name in subscription.streams)
        wanted = subscription, at, tuple(streams), max_bytes, tuple(map(passes.get, streams))
        page = self._kept.get(wanted)
        if page is None:
            page = self._made(subscription, positions, streams, max_bytes, passes)
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
        passes: Mapping[str, Pass],
    ) -> Page:
        keys_of = dict(zip(subscription.streams, subscription.keys_of, strict=True))
        parts = {
            name: self._part(name, positions[name], keys_of[name], max_bytes, passes.get(name))
            for name in streams
        }
        # Streams are merged in the order of ids. If a stream's part is cut short, the later events
        # of the others wait for the rest of it.
        cuts = [end for name, (_, end) in parts.items() if end != self._windows[name].head]
        cut = min(cuts, default=None)
        ends, merged = dict(positions), []
        for stream, (found, end) in parts.items():
            taken = found if cut is None else found[: bisect_right(found, cut, key=_id)]
            merged += [(frame.id, stream, frame) for frame in taken]
            if len(taken) == len(found):
                ends[stream] = end
            elif taken:
                ends[stream] = taken[-1].id
        merged.sort()
        page = self.of(subscription, positions, [(stream, frame) for _, stream, frame in merged])
        if page.over:
            return page
        # The positions also move past the events that the filter has left out.
        left_out = 1.0 - page.events / len(merged) if merged else 0.0
        return page._replace(positions=ends, exhausted=cut is None, left_out=left_out)

    def _part(
        self,
        stream: str,
        position: EventId,
        keys: frozenset[str],
        max_bytes: int,
        pass_: Pass | None,
    ) -> tuple[list[Frame], EventId]:
        """Return the next frames of a stream, and the position after them."""
        if pass_ is not None:
            return pass_.after(position, max_bytes)
        found, exhausted = self._windows[stream].after(position, keys, max_bytes)
        return found, self._windows[stream].head if exhausted else found[-1].id

    def of(
        self, subscription: Subscription, positions: Positions, placed: Iterable[Placed]
    ) -> Page:
        """Return a page of the frames that a subscription admits, up to the first terminal one.

        Args:
            subscription: its filter selects the frames, and its kind of id is written.
            positions: before the first frame.
            placed: the frames, in the order in which they are sent.
        """
        selected, over = [], False
        for stream, frame in placed:
            if subscription.accepts(stream, frame) and frame.wire:
                over = subscription.ends_with(frame)
                selected.append((stream, self._last(frame) if over else frame))
                if over:
                    break
        reached = dict(positions)
        data = join(reached, subscription, selected)
        return Page(data, len(selected), reached, exhausted=True, over=over, placed=selected)

    def of_past(
        self, subscription: Subscription, positions: Positions, stream: str, past: Past
    ) -> tuple[Page, EventId]:
        """Return a page of the log, and the position after it.

        The part that the window holds is cut off. The window's history is proven, but Redis may
        have dropped the page's history while the answer was on its way.
        """
        frames, end, floor = past.frames, past.end, self._windows[stream].floor
        if positions[stream] < floor < end:
            frames = [frame for frame in frames if frame.id <= floor]
            end = floor
        return self.of(subscription, positions, [(stream, frame) for frame in frames]), end

    def joined(self, subscription: Subscription, stream: str, frames: Iterable[Frame]) -> bytes:
        """Return the bytes of the newest batch's frames, for subscribers that are live."""
        heads = {name: self._windows[name].head for name in subscription.streams}
        return join(heads, subscription, [(stream, frame) for frame in frames], self._without_type)

    def _without_type(self, frame: Frame) -> Frame:
        """Return a frame of the newest batch without its type; for each frame, the same object."""
        made = self._untyped.get(frame.id)
        if made is None:
            made = self._untyped[frame.id] = frame.without_type()
        return made

    def ended(self, frames: Sequence[Frame]) -> list[Frame]:
        """Return frames that end with a terminal event, as a response ends with them."""
        return [*frames[:-1], self._last(frames[-1])]

    def _last(self, frame: Frame) -> Frame:
        return frame.with_retry(self.terminal_retry_ms)


def join(
    positions: Positions,
    subscription: Subscription,
    placed: Sequence[Placed],
    untyped: Callable[[Frame], Frame] = Frame.without_type,
) -> bytes:
    """Return the bytes of frames, as a subscription is sent them.

    Args:
        positions: moved to the last frame of each stream, in place.
        subscription: says whether ids name their streams, and which events go without a type.
        placed: the frames, in order.
        untyped: makes a frame without its type.
    """
    if subscription.plain:
        for stream, frame in placed[-1:]:
            positions[stream] = frame.id
        return b"".join([frame.wire for _, frame in placed])
    parts = []
    for stream, frame in placed:
        positions[stream] = frame.id
        shown = untyped(frame) if subscription.goes_without_type(frame) else frame
        named = subscription.named
        parts.append(shown.with_cursor(subscription.cursor(positions)) if named else shown.wire)
    return b"".join(parts)
