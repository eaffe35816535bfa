"""The fold of one stream: the state that its events add up to, at one position. Pure.

A fold can't be undone. When the history of its stream has changed, it is dropped, and loaded anew
from a checkpoint or from the log. `Hub` says when.

The state depends only on the events up to `position`, and not on when they were applied: what
expires, expires by the times in ids. So all nodes have the same state at the same position.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from broadcaster.core.event import ZERO, EventId
from broadcaster.core.sse import Frame
from broadcaster.core.state import kept
from broadcaster.core.state.kept import KeyRow
from broadcaster.core.state.values import Rules, Value
from broadcaster.core.wire import RESTART

# Folding takes a few µs, and less per event if many events of a key are folded at once. So the
# events of a key are kept until there are this many. Events are larger than values, so only this
# many keys may have unfolded events.
_UNFOLDED = 32
_UNFOLDED_KEYS = 4096


class Values(Mapping[str, tuple[Value, ...]]):
    """The values of each key of a cut, in order. They are folded when they are read."""

    def __init__(self, rules: Rules, rows: Mapping[str, KeyRow]) -> None:
        """Keep the rows, which the caller must not change."""
        self._rules = rules
        self._rows = rows

    def __getitem__(self, key: str) -> tuple[Value, ...]:
        return kept.values(self._rules, key, self._rows[key])

    @property
    def by_type(self) -> bool:
        """Return True if keys have one value per type."""
        return self._rules.kind != "append"

    def frames(self, key: str) -> list[Frame]:
        """Return the values of a key as frames, with the ids of their newest events."""
        return kept.frames(self._rules, key, self._rows[key])

    def shown(self, key: str) -> list[bytes]:
        """Return the values of a key as the bytes of events that have no ids."""
        return kept.shown(self._rules, key, self._rows[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """The state at one position. It never changes, so its readers share it.

    Attributes:
        position: the id of the last event that is part of it.
        since: the events after this position are part of it. None means all that ever were.
        values: of each key that was not removed.
        too_large: True if the values would have more bytes than they may have. The cut has none
            then.
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
        self._rows: dict[str, KeyRow] = {}
        self._removed: dict[str, Value] = {}
        self._ending: deque[tuple[EventId, str]] = deque()
        self._unfolded = OrderedDict[str, list[Frame]]()
        self._ahead = ZERO
        self._cut: Cut | None = None
        if self._changed is not None:
            self._changed.clear()
        newest = dict[str, Value]()
        for value in values:
            newest[value.key] = value
            self._ahead = max(self._ahead, value.id)
            if value.removed:
                self._removed[value.key] = value
            else:
                before = self._rows.get(value.key, ())
                row = self._rows[value.key] = kept.added(self.rules, before, value)
                self.bytes += kept.size(row[-1:])
        over = (v for v in newest.values() if v.removed or v.type in self.rules.terminal)
        self._ending.extend(sorted((value.id, value.key) for value in over))
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
        key, wire = frame.key, frame.wire
        row = self._rows.get(key)
        if row is None:
            self._rows[key] = (wire,)
            self.bytes += len(wire)
        else:
            self._rows[key], grown = kept.replaced(row, frame)
            self.bytes += grown

    def _add(self, frame: Frame) -> None:
        """Keep an event after the others of its key."""
        if frame.type == RESTART.type:  # "forget the events of this run that came before"
            self._take_out(frame.key)
        key = frame.key
        events = self._unfolded.get(key)
        self.bytes += len(frame.wire)
        if events is None:
            self._unfolded[key] = [frame]
            self._rows.setdefault(key, ())
            if len(self._unfolded) > _UNFOLDED_KEYS:
                self._fold_events(next(iter(self._unfolded)))
        else:
            events.append(frame)
            if len(events) >= _UNFOLDED:
                self._fold_events(key)

    def _fold_events(self, key: str) -> None:
        """Fold the events of a key that has some."""
        row = self._row(key)
        del self._unfolded[key]
        folded = self._rows[key] = kept.folded(self.rules, key, row)
        self.bytes += kept.size(folded) - kept.size(row)

    def _row(self, key: str) -> KeyRow:
        """Return the values of a key, and then its events that are not folded yet."""
        return (*self._rows.get(key, ()), *self._unfolded.get(key, ()))

    def _take_out(self, key: str) -> None:
        self.bytes -= kept.size(self._row(key))
        self._rows.pop(key, None)
        self._unfolded.pop(key, None)

    def _newest(self, key: str) -> EventId:
        if key in self._removed:
            return self._removed[key].id
        newest = self.newest(key)
        return newest[0] if newest else ZERO

    def _expire(self, id_: EventId, key: str) -> None:
        """Forget a key that an event has ended or removed, unless a later event has come."""
        if self._newest(key) == id_:
            self._take_out(key)
            self._removed.pop(key, None)
            if self._changed is not None:
                self._changed.add(key)

    def _check_size(self) -> None:
        """Forget all values if they are too large: what is in memory has a bound."""
        most = self.rules.max_bytes
        if not most:
            return
        while self._unfolded and self.bytes > most:  # values may be smaller than their events
            self._fold_events(next(iter(self._unfolded)))
        if self.bytes > most:
            self.too_large, self.bytes = True, 0
            self._rows, self._removed, self._cut = {}, {}, None
            self._ending.clear()
            self._unfolded.clear()

    @property
    def keys(self) -> int:
        """Return the number of keys that have values."""
        return len(self._rows)

    def of_key(self, key: str) -> tuple[Value, ...]:
        """Return the values of a key, in order; for a removed key, the value that says so."""
        if key in self._removed:
            return (self._removed[key],)
        return kept.values(self.rules, key, self._row(key))

    def newest(self, key: str) -> tuple[EventId, str] | None:
        """Return the newest id and type of a key that was not removed; None if it has no value."""
        row = self._row(key)
        return kept.newest(row) if row else None

    def take_changed(self) -> set[str]:
        """Return the keys whose values have changed or gone since the last call, or since `load`.

        The first call returns all keys. Changes are noted from then on.
        """
        changed = self._changed
        if changed is None:
            changed = {*self._rows, *self._removed}
        self._changed = set()
        return changed

    def cut(self) -> Cut:
        """Return the state as it is now. Callers share it until the next change."""
        if self._cut is None:
            position, since, too_large = self.position, self.since, self.too_large
            rows = self._rows | {key: self._row(key) for key in self._unfolded}
            values = Values(self.rules, rows)
            self._cut = Cut(position, since, values, too_large)
        return self._cut
