"""The row that a fold keeps of one key: its values, and its events that are not folded yet. Pure.

A state may have many keys, so a row is small. A value of `last` or `merge` is kept as the bytes of
an event, which have its id and its type. Those of `append` are kept as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from broadcaster.core.event import DEFAULT_TYPE, Event, EventId
from broadcaster.core.sse import Frame, encode, frame_of_wire
from broadcaster.core.state.folding import fold
from broadcaster.core.state.texts import Growing, Item, appended
from broadcaster.core.state.values import Rules, Value

KeyRow: TypeAlias = tuple[bytes | Item, ...]
"""The values of a key, and then its events since."""


def added(rules: Rules, row: KeyRow, value: Value) -> KeyRow:
    """Return a row with one more value of a checkpoint."""
    return (*row, value if rules.kind == "append" else _wire(value))


def replaced(row: KeyRow, frame: Frame) -> tuple[KeyRow, int]:
    """Return a row of the kind `last` with an event in place of the one of its type.

    Returns:
        The row, and the bytes by which it has grown.
    """
    wire = frame.wire
    start = wire.index(b"\n")
    if frame.type == DEFAULT_TYPE:
        line = b"\ndata:"  # such an event has no line with its type
    else:
        line = wire[start : wire.index(b"\n", start + 1) + 1]
    for number, known in enumerate(row):
        assert isinstance(known, bytes)
        if known.startswith(line, known.index(b"\n")):
            return (*row[:number], *row[number + 1 :], wire), len(wire) - len(known)
    return (*row, wire), len(wire)


def folded(rules: Rules, key: str, row: KeyRow) -> KeyRow:
    """Return a row of values alone."""
    items = _items(key, row)
    if rules.kind == "append":
        return tuple(appended(rules.append, items))
    return tuple([_wire(value) for value in fold(rules, items)])


def values(rules: Rules, key: str, row: KeyRow) -> tuple[Value, ...]:
    """Return the values of a key."""
    return fold(rules, _items(key, row))


def frames(rules: Rules, key: str, row: KeyRow) -> list[Frame]:
    """Return the values of a key as frames, with the ids of their newest events."""
    if isinstance(row[-1], bytes):
        return [frame_of_wire(kept, key) for kept in row if isinstance(kept, bytes)]
    return [encode(Event(*value[:4])) for value in values(rules, key, row)]


def shown(rules: Rules, key: str, row: KeyRow) -> list[bytes]:
    """Return the values of a key as the bytes of events that have no ids."""
    if isinstance(row[-1], bytes):
        return [kept[kept.index(b"\n") + 1 :] for kept in row if isinstance(kept, bytes)]
    return [frame.without_id() for frame in frames(rules, key, row)]


def newest(row: KeyRow) -> tuple[EventId, str]:
    """Return the id and the type of the newest event."""
    kept = row[-1]
    if isinstance(kept, bytes):
        kept = frame_of_wire(kept, "")
    return kept.id, kept.type


def size(row: KeyRow) -> int:
    """Return about how many bytes the values and events have."""
    total = 0
    for kept in row:  # without a call for each: there are many events
        if isinstance(kept, Frame):
            total += len(kept.wire)
        elif isinstance(kept, bytes):
            total += len(kept)
        else:
            total += len(kept.data)
            if isinstance(kept, Growing):
                total += sum(map(len, kept.pieces))
    return total


def _items(key: str, row: KeyRow) -> Sequence[Item]:
    return [_value(key, kept) if isinstance(kept, bytes) else kept for kept in row]


def _value(key: str, wire: bytes) -> Value:
    frame = frame_of_wire(wire, key)
    return Value(frame.id, frame.type, key, frame.data)


def _wire(value: Value) -> bytes:
    return encode(Event(*value[:4])).wire
