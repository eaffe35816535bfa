"""The fold of one stream: the state that its events add up to, at one position. Pure.

A fold can't be undone. When the history of its stream has changed, it is dropped, and loaded anew
from a checkpoint or from the log. `Hub` says when.

The state depends only on the events up to `position`, and not on when they were applied: what
expires does so by the times in ids. So all nodes have the same state at the same position.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from broadcaster.core.event import ZERO, Event, EventId
from broadcaster.core.folding import Item, fold
from broadcaster.core.sse import Frame, encode
from broadcaster.core.state import Rules, Value
from broadcaster.core.wire import RESTART

# So many events of a key are kept before they are folded: folding costs a few µs, and less for
# each event if many are folded at once.
_UNFOLDED = 64


class Values(Mapping[str, tuple[Value, ...]]):
    """The values of each key of a cut, in order. They are folded when they are read."""

    def __init__(self, rules: Rules, items: Mapping[str, tuple[Item, ...]]) -> None:
        """Keep the items, which the caller must not change."""
        self._rules = rules
        self._items = items

    def __getitem__(self, key: str) -> tuple[Value, ...]:
        return fold(self._rules, self._items[key])

    def frames(self, key: str) -> Sequence[Frame]:
        """Return the values of a key as frames, with the ids of their newest events."""
        items = self._items[key]
        found = items if self._rules.kind == "last" else fold(self._rules, items)
        return [item if isinstance(item, Frame) else encode(Event(*item[:4])) for item in found]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """The state at one position. It never changes, so its readers share it.

    Attributes:
        position: the id of the last event that is part of it.
        since: the events after this position are part of it. None means all that ever were.
        values: of each key that was not removed.
        too_large: True if the values have more bytes than they may have. There are none then.
    """

    position: EventId
    since: EventId | None
    values: Values
    too_large: bool


class Fold:
    """The state of one stream.

    Attributes:
        rules: of its channel.
        position: the id of the last event that is part of it.
        since: the events after this position are part of it. None means all that ever were.
        offered: True if the state is that of the head of the stream's window. Otherwise it has to
            be loaded, and `Hub.offer` joins it to the window.
        bytes: about how many bytes its values have.
    """

    def __init__(self, rules: Rules) -> None:
        """Begin without a state."""
        self.rules = rules
        self._changed: set[str] | None = None
        self.drop()

    def drop(self) -> None:
        """Forget everything, because the history of the stream has changed."""
        self.offered = False
        self.load(ZERO, None, ())

    def load(self, position: EventId, since: EventId | None, values: Iterable[Value]) -> None:
        """Replace the state by that of a checkpoint. `offered` stays as it is.

        Args:
            position: all events up to it are part of the values. Values may have later ones too:
                `apply` passes over events that are not newer than the newest value of their key.
            since: as in `Fold`.
            values: of all keys. Those of one key are in order.
        """
        self.position, self.since, self.too_large, self.bytes = position, since, False, 0
        self._items: dict[str, tuple[Item, ...]] = {}
        self._removed: dict[str, Value] = {}
        self._ending: deque[tuple[EventId, str]] = deque()
        self._ahead = ZERO
        self._cut: Cut | None = None
        if self._changed is not None:
            self._changed.clear()
        for value in values:
            if value.removed:
                self._removed[value.key] = value
            else:
                self._items[value.key] = (*self._items.get(value.key, ()), value)
                self.bytes += _size(value)
            self._ahead = max(self._ahead, value.id)
        over = [
            (i[-1].id, key) for key, i in self._items.items() if i[-1].type in self.rules.terminal
        ]
        self._ending.extend(sorted([*over, *((v.id, v.key) for v in self._removed.values())]))
        self._check_size()

    def apply(self, frames: Sequence[Frame]) -> None:
        """Fold events in, in order. Those that are part of the state already are passed over."""
        ttl_ms, removes, terminal = self.rules.ttl_ms, self.rules.removes, self.rules.terminal
        is_last, changed, begun = self.rules.kind == "last", self._changed, self.position
        for frame in frames:
            id_, type_, key, wire = frame
            if id_ <= begun:
                continue
            self.position, self._cut = id_, None
            while self._ending and self._ending[0][0].ms + ttl_ms < id_.ms:
                self._expire(*self._ending.popleft())
            if not wire or self.too_large or (id_ <= self._ahead and id_ <= self._newest(key)):
                continue
            if type_ in removes:
                self._take_out(key)
                self._removed[key] = Value(id_, type_, key, b"", removed=True)
                self._ending.append((id_, key))
            else:
                if self._removed:
                    self._removed.pop(key, None)
                if is_last:
                    self._replace(frame)
                else:
                    self._add(frame)
                if type_ in terminal:
                    self._ending.append((id_, key))
            if changed is not None:
                changed.add(key)
        self._check_size()

    def _replace(self, frame: Frame) -> None:
        """Keep the newest event of each type."""
        known, type_ = self._items.get(frame.key), frame.type
        self.bytes += len(frame.wire)
        if known is None:
            self._items[frame.key] = (frame,)
            return
        kept = tuple([item for item in known if item.type != type_])
        if len(kept) < len(known):
            self.bytes -= sum([_size(item) for item in known if item.type == type_])
        self._items[frame.key] = (*kept, frame)

    def _add(self, frame: Frame) -> None:
        """Keep an event after the others of its key."""
        if frame.type == RESTART.type:  # "forget the events of this run that came before"
            self._take_out(frame.key)
        items = (*self._items.get(frame.key, ()), frame)
        self.bytes += len(frame.wire)
        # The values come first, and then the events that are not folded yet.
        if len(items) >= _UNFOLDED and isinstance(items[-_UNFOLDED], Frame):
            before = sum(map(_size, items))
            items = fold(self.rules, items)
            self.bytes += sum(map(_size, items)) - before
        self._items[frame.key] = items

    def _take_out(self, key: str) -> None:
        self.bytes -= sum(map(_size, self._items.pop(key, ())))

    def _newest(self, key: str) -> EventId:
        if key in self._removed:
            return self._removed[key].id
        newest = self.newest(key)
        return newest.id if newest else ZERO

    def _expire(self, id_: EventId, key: str) -> None:
        """Forget a key that was over or removed with an event, unless it has had a later one."""
        if self._newest(key) == id_:
            self._take_out(key)
            self._removed.pop(key, None)
            if self._changed is not None:
                self._changed.add(key)

    def _check_size(self) -> None:
        """Forget all values if they are too large: what is in memory has a bound."""
        if self.rules.max_bytes and self.bytes > self.rules.max_bytes:
            self.too_large, self.bytes = True, 0
            self._items, self._removed, self._cut = {}, {}, None
            self._ending.clear()

    @property
    def keys(self) -> int:
        """Return the number of keys that have values."""
        return len(self._items)

    def of_key(self, key: str) -> tuple[Value, ...]:
        """Return the values of a key, in order; for a removed key, the value that says so."""
        if key in self._removed:
            return (self._removed[key],)
        return fold(self.rules, self._items.get(key, ()))

    def newest(self, key: str) -> Item | None:
        """Return the newest value of a key that was not removed; None if it has none."""
        items = self._items.get(key)
        return items[-1] if items else None

    def take_changed(self) -> set[str]:
        """Return the keys whose values have changed or gone since the last call, or since `load`.

        The first call returns all keys, and only then changes are noted.
        """
        changed = self._changed
        if changed is None:
            changed = {*self._items, *self._removed}
        self._changed = set()
        return changed

    def cut(self) -> Cut:
        """Return the state as it is now. Callers share it until the next change."""
        if self._cut is None:
            position, since, too_large = self.position, self.since, self.too_large
            values = Values(self.rules, dict(self._items))
            self._cut = Cut(position, since, values, too_large)
        return self._cut


def _size(item: Item) -> int:
    return len(item.data) if isinstance(item, Value) else len(item.wire)
