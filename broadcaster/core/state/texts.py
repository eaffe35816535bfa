"""Joins the texts of events, for states of the kind `append`. Pure.

A text is joined when it is needed, and not at each event: a copy of a long one would cost more than
all else. Neighbours mostly have the same bytes around their texts, so only these are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple, TypeAlias

import orjson

from broadcaster.core.event import ZERO, Event, EventId
from broadcaster.core.json.jsonobject import in_one_form, object_of, written
from broadcaster.core.sse import Frame, encode
from broadcaster.core.state.values import Value

_PIECES = 64


class Growing(NamedTuple):
    """A value whose text may grow.

    Attributes:
        id: of its newest event.
        type: of its events.
        key: of its events.
        data: of its first event, as it was sent.
        rest: the data of its events without the text. Equal data has equal bytes here.
        around: the bytes of its events before and after the text, without the id. Empty if they are
            not known.
        pieces: their sum is the text.
        lengths: for each piece, how many characters each of its events has added.
    """

    id: EventId
    type: str
    key: str
    data: bytes
    rest: bytes
    around: tuple[bytes, ...]
    pieces: tuple[str, ...]
    lengths: tuple[tuple[int, ...], ...]

    def with_piece(self, id_: EventId, piece: str, lengths: Iterable[int]) -> Growing:
        """Return the value with one more piece of its text.

        Args:
            id_: of the last event in the piece.
            piece: the joined texts of the events.
            lengths: the number of characters of each of these texts.
        """
        pieces, by_piece = (*self.pieces, piece), (*self.lengths, tuple(lengths))
        if len(pieces) > _PIECES:
            pieces, by_piece = ("".join(pieces),), (tuple(chain.from_iterable(by_piece)),)
        return self._replace(id=id_, pieces=pieces, lengths=by_piece)

    def value(self, field: str) -> Value:
        """Return the value, whose text is in a field."""
        lengths = tuple(chain.from_iterable(self.lengths))
        if len(lengths) < 2:  # it stands as it was sent
            return Value(self.id, self.type, self.key, self.data)
        first = object_of(self.data) or {}
        first[field] = "".join(self.pieces)
        return Value(self.id, self.type, self.key, written(first), lengths)


Item: TypeAlias = Value | Growing | Frame
"""A value, or an event that is folded when it is needed."""


def value_of(field: str, item: Item) -> Value:
    """Return an item as a value; see `Growing.value`."""
    if isinstance(item, Growing):
        return item.value(field)
    return item if isinstance(item, Value) else Value(item.id, item.type, item.key, item.data)


def appended(field: str, items: Sequence[Item]) -> list[Value | Growing]:
    """Return the values of one key. Only the last one may grow.

    Args:
        field: that has the texts.
        items: the values so far, and then the events since, in order.
    """
    events = [item for item in items if isinstance(item, Frame)]
    values = [item for item in items if not isinstance(item, Frame)]
    if not events or not values:
        last, values = None, [value_of(field, value) for value in values]
    else:
        *others, last = values
        values = [value_of(field, value) for value in others]
    joining = _Joining(field, values)
    joining.take(last, events)
    return joining.done


class _Joining:
    """Joins neighbours.

    Attributes:
        done: the values.
    """

    __slots__ = ("_field", "_growing", "_id", "_lengths", "_texts", "done")

    def __init__(self, field: str, done: list[Value | Growing]) -> None:
        self.done = done
        self._field = field
        self._growing: Growing | None = None
        self._id = ZERO
        self._texts = list[str]()
        self._lengths = list[int]()

    def take(self, last: Value | Growing | None, events: Sequence[Frame]) -> None:
        """Take the last value, if there is one, and all events since."""
        if isinstance(last, Growing):
            self._begin(last)
        elif last is not None:
            self._add(last)
        at = 0
        while at < len(events):
            growing = self._growing
            alike = _alike(growing.around, events[at:]) if growing and growing.around else []
            if alike:
                self._texts += alike
                self._lengths += map(len, alike)
                at += len(alike)
                self._id = events[at - 1].id
            else:
                self._add(events[at])
                at += 1
        self._close()

    def _add(self, item: Value | Frame) -> None:
        if not self._joins(item):
            self._close()
            self.done.append(value_of(self._field, item))

    def _joins(self, item: Value | Frame) -> bool:
        """Take an event or a value. Return False if it has no text."""
        growing, data = self._growing, item.data
        found = _text_and_rest(self._field, data)
        if found is None:
            return False
        text, rest = found
        if growing is None or (growing.rest, growing.type) != (rest, item.type):
            self._close()
            self._begin(Growing(item.id, item.type, item.key, data, rest, (), (), ()))
        elif not growing.around:
            around = _around(self._field, item.type, data, *found)
            self._growing = growing._replace(around=around)
        self._id = item.id
        self._texts.append(text)
        self._lengths += (isinstance(item, Value) and item.lengths) or (len(text),)
        return True

    def _begin(self, growing: Growing) -> None:
        self._growing, self._id, self._texts, self._lengths = growing, growing.id, [], []

    def _close(self) -> None:
        """Complete the value that grows, if there is one."""
        growing, self._growing = self._growing, None
        if growing is not None:
            self.done.append(growing.with_piece(self._id, "".join(self._texts), self._lengths))


def _text_and_rest(field: str, data: bytes) -> tuple[str, bytes] | None:
    """Return the text in data, and the data without it; None if there is no text."""
    sent = object_of(data) or {}
    text = sent.get(field)
    if not isinstance(text, str):
        return None
    sent[field] = ""
    return text, in_one_form(sent)


def _around(field: str, type_: str, data: bytes, text: str, rest: bytes) -> tuple[bytes, ...]:
    """Return the bytes of events before and after the text; nothing if it is not found.

    Args:
        field: that has the text.
        type_: of the events.
        data: of one of them.
        text: its text.
        rest: its data without the text.
    """
    literal, name = orjson.dumps(text), orjson.dumps(field)
    start = data.find(literal, data.find(name) + len(name))
    before, after = data[:start], data[start + len(literal) :]
    if start < 0 or _text_and_rest(field, before + b'"?"' + after) != ("?", rest):
        return ()
    first, last = (encode(Event(ZERO, type_, "", part)).wire for part in (before, after))
    return first[first.index(b"\n") : -2], last[last.index(b"\ndata: ") + 7 :]


def _alike(around: tuple[bytes, ...], events: Sequence[Frame]) -> list[str]:
    """Return the texts of the events up to the first one that differs in more than its text.

    Between the same bytes stands a whole string of JSON, so nothing else can differ. The rest of
    the data need not be parsed.
    """
    before, after = around
    texts = list[str]()
    for event in events:
        wire = event.wire
        start = wire.index(b"\n")
        if not wire.startswith(before, start) or not wire.endswith(after):
            break
        try:
            text = orjson.loads(wire[start + len(before) : len(wire) - len(after)])
        except ValueError:
            break
        if not isinstance(text, str):
            break
        texts.append(text)
    return texts
