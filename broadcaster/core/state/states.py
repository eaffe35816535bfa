"""The folds of a hub's streams, and their states as bytes. Pure.

Clients that join at about the same time share one cut, and the bytes that are made of it. The bytes
are made page by page, when the first of these clients needs them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple
from weakref import WeakValueDictionary

from broadcaster.core.event import ZERO, EventId
from broadcaster.core.history.window import Place, Window
from broadcaster.core.sse import Frame
from broadcaster.core.state.fold import Cut, Fold, Values
from broadcaster.core.state.passes import Passes
from broadcaster.core.state.values import Rules
from broadcaster.core.subscription import Subscription

_PAGE_BYTES = 64 * 1024
_FEW = 256
"""A cut is shared until more events than this, or than an eighth of its keys, have followed."""
_HELD_BYTES = 32 * 1024 * 1024
"""The most bytes of values whose rendering is held for later clients."""


class StatePage(NamedTuple):
    """A part of a state.

    Attributes:
        data: its bytes. No event in it has an id.
        events: the number of its events.
        frames: returns its events, with the ids that they had.
    """

    data: bytes
    events: int
    frames: Callable[[], Sequence[Frame]]


class Rendering:
    """The state of one stream at one position, for subscriptions that are equal.

    Attributes:
        cut: what it is made of.
        keys: the number of keys that it has.
        over: True if the state ends with an event that ends the response.
    """

    def __init__(self, stream: str, cut: Cut, subscription: Subscription) -> None:
        """Make no bytes yet.

        Args:
            stream: its name.
            cut: of its fold.
            subscription: its keys and its filter choose the events.
        """
        keys = subscription.keys_of[subscription.streams.index(stream)]
        chosen = [key for key in sorted(keys) if key in cut.values] if keys else cut.values
        self.cut = cut
        self.keys = len(chosen)
        self.over = False
        self._stream = stream
        self._subscription = subscription
        self._keys = iter(chosen)
        self._frames = chain.from_iterable(map(cut.values.frames, chosen))
        # All events of these keys are sent as they are. A key has few, so pages have whole keys.
        as_they_are = not subscription.selective and subscription.untyped is None
        self._whole = as_they_are and cut.values.by_type
        self._pages: list[StatePage] = []

    def page(self, number: int) -> StatePage | None:
        """Return one of the pages, which begin with 0; None if there are no more."""
        if number == len(self._pages):
            page = self._next_whole() if self._whole else self._next()
            if page.events:
                self._pages.append(page)
        return self._pages[number] if number < len(self._pages) else None

    def _next_whole(self) -> StatePage:
        values, parts, keys, size = self.cut.values, list[bytes](), list[str](), 0
        for key in self._keys:
            of_key = values.shown(key)
            parts += of_key
            keys.append(key)
            size += sum(map(len, of_key))
            if size >= _PAGE_BYTES:
                break
        return StatePage(b"".join(parts), len(parts), partial(_frames, values, keys))

    def _next(self) -> StatePage:
        subscription, parts, frames, size = self._subscription, list[bytes](), list[Frame](), 0
        for frame in self._frames:
            if not subscription.accepts(self._stream, frame):
                continue
            self.over = subscription.ends_with(frame)
            shown = frame.without_type() if subscription.goes_without_type(frame) else frame
            data = shown.without_id()
            parts.append(data)
            frames.append(frame)
            size += len(data)
            if size >= _PAGE_BYTES:
                break
        return StatePage(b"".join(parts), len(parts), lambda: frames)


class HubStates:
    """The folds of all streams that have a state.

    Attributes:
        folds: the fold of each stream, by its name. Only offered ones are the state of the head.
        broken: called with the name of a stream whose fold has to be made anew.
        passes: of the streams whose channels coalesce.
    """

    def __init__(self, windows: Mapping[str, Window], rules: Mapping[str, Rules]) -> None:
        """Begin without any state.

        Args:
            windows: of all streams, by name.
            rules: of the streams that have a state, by name.
        """
        self.folds = {stream: Fold(of) for stream, of in rules.items()}
        self.broken: Callable[[str], object] = _nothing
        self.passes = Passes(windows, rules)
        self._windows = windows
        self._shared = WeakValueDictionary[tuple[str, Subscription], Rendering]()
        # A small state is sent in one step, so that the next client of a herd finds it only if it
        # is held here. It is held until the next event.
        self._held = dict[str, Rendering]()

    def apply(self, stream: str, frames: Sequence[Frame]) -> None:
        """Fold a batch of a stream that has a fold, right after it was added to the window."""
        fold = self.folds[stream]
        self._held.pop(stream, None)
        if fold.offered:
            fold.apply(frames)

    def rewritten(self, stream: str) -> None:
        """Drop a fold, because its window was rewritten, and have it made anew."""
        self.passes.rewritten(stream)
        fold = self.folds.get(stream)
        if fold is None:
            return
        fold.drop()
        self._held.pop(stream, None)
        window = self._windows[stream]
        # Nothing was ever removed: the state is that of the window, which is empty now.
        fold.offered = window.complete and window.head == ZERO
        if not fold.offered:
            self.broken(stream)

    def is_whole(self, stream: str) -> bool:
        """Return True if a stream's state is offered, and made of all events that ever were."""
        fold = self.folds[stream]
        return fold.offered and fold.since is None and not fold.too_large

    def end(self, stream: str, keys: Collection[str]) -> EventId | None:
        """Return the id of the event that ended the only key; None if that is not known."""
        fold = self.folds.get(stream)
        if fold is None or not fold.offered or len(keys) != 1:
            return None
        newest = fold.newest(*keys)
        return newest[0] if newest and newest[1] in fold.rules.terminal else None

    def is_over(self, stream: str, keys: Collection[str], position: EventId) -> bool:
        """Return True if a client at a position has seen the end of its only key."""
        end = self.end(stream, keys)
        return end is not None and self.has_seen(stream, end, position)

    def has_seen(self, stream: str, end: EventId, position: EventId) -> bool:
        """Return True if a client has seen an event, and its position is still in the history.

        Args:
            stream: its name.
            end: the id of the event.
            position: of the client.
        """
        if end == position:
            return True
        window = self._windows[stream]
        is_proven = window.place(position) in (Place.COVERED, Place.BEHIND)
        return end < position and is_proven and position not in window.dropped

    def has_texts(self, stream: str) -> bool:
        """Return True if the state of a stream has the data of every event of its keys.

        Such a state can be sent in place of the log. Only neighbours of one type are joined in it.
        """
        fold = self.folds.get(stream)
        if fold is None or fold.rules.kind != "append" or fold.rules.removes:
            return False
        return self.is_whole(stream)

    def adopt(self, stream: str, fold: Fold) -> None:
        """Offer a fold that was made anew, up to the head of the window."""
        if not self.folds[stream].offered:  # else the stream was emptied meanwhile
            fold.offered = True
            self.folds[stream] = fold

    def rendering(self, stream: str, subscription: Subscription) -> Rendering:
        """Return the state of a stream whose fold is offered, for a subscription."""
        fold, shared = self.folds[stream], self._shared.get((stream, subscription))
        if shared is not None and self._is_fresh(stream, shared.cut, fold):
            return shared
        made = Rendering(stream, fold.cut(), subscription)
        self._shared[stream, subscription] = made
        if fold.bytes <= _HELD_BYTES and not subscription.keys:
            self._held[stream] = made
        return made

    def forget(self, stream: str, subscription: Subscription) -> None:
        """Stop sharing the state that was made last, because a client needs what has come since."""
        self._shared.pop((stream, subscription), None)

    def _is_fresh(self, stream: str, cut: Cut, fold: Fold) -> bool:
        if cut.position == fold.position:
            return True
        window = self._windows[stream]
        most = max(_FEW, len(cut.values) // 8)
        covered = window.place(cut.position) is Place.COVERED
        return covered and window.count_after(cut.position) <= most


def _frames(values: Values, keys: Sequence[str]) -> Sequence[Frame]:
    return [frame for key in keys for frame in values.frames(key)]


def _nothing(_: str) -> None:
    """The default of `HubStates.broken`."""


NO_STATES = HubStates({}, {})
"""The states of a hub whose channels have none."""
