"""The form of a checkpoint: what a folder writes to Redis of a stream's state. Pure.

A checkpoint is a hash. A field for each key has the key's values, and the field `at` has the mark:
up to which entry the values are folded, and by which rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgpack

from broadcaster.core.event import EventId
from broadcaster.core.state.values import Rules, Value

AT = b"at"
"""The field of the mark. The field of a key begins with a colon."""
_VERSION = 1
_COLON = b":"


class Mark(NamedTuple):
    """What a checkpoint says of itself.

    Attributes:
        maker: random bytes that name the memory of the folder. If they change between two reads,
            the values of these reads don't belong together.
        position: the values are those of the log up to here. None if the checkpoint is begun and
            not complete, so that it can't be used.
        since: the values are those of the log after this position; None means the whole log.
        added: the entries that Redis had ever added up to the position; -1 if that is not known.
        rules: the rules that the values are made by. Values of other rules can't be used.
        shards: the number of shards that the channel had.
    """

    maker: bytes
    position: EventId | None
    since: EventId | None
    added: int
    rules: str
    shards: int = 1

    def packed(self) -> bytes:
        """Return the bytes of the field. Equal marks have equal bytes."""
        maker, position, since, added, rules, shards = self
        return _packed([_VERSION, maker, position, since, added, rules, shards])


def mark_of(packed: bytes | None) -> Mark | None:
    """Return the mark of a checkpoint; None if there is none, or it is of another version."""
    try:
        version, maker, position, since, added, rules, shards = msgpack.unpackb(packed or b"")
        if version == _VERSION:
            return Mark(maker, _id(position), _id(since), added, rules, shards)
    except (ValueError, TypeError, msgpack.UnpackException):
        pass
    return None


def named(rules: Rules) -> str:
    """Return the rules that decide about the values of a fold, as a mark names them."""
    return "|".join((rules.kind, rules.append, *sorted(rules.removes)))


def field_of(key: str) -> bytes:
    """Return the field that has the values of a key."""
    return _COLON + key.encode()


def key_of(field: bytes) -> str | None:
    """Return the key of a field; None if the field belongs to no key."""
    return field[1:].decode() if field.startswith(_COLON) else None


def packed_values(values: Sequence[Value]) -> bytes:
    """Return the bytes of the values of one key."""
    rows = []
    for id_, type_, _, data, lengths, removed in values:
        row = [id_.ms, id_.seq, type_, data]
        rows.append([*row, lengths, removed] if lengths or removed else row)
    return _packed(rows)


def values_of(key: str, packed: bytes) -> list[Value]:
    """Return the values of one key, in the order of `packed_values`."""
    found = []
    for ms, seq, type_, data, *more in msgpack.unpackb(packed):
        lengths, removed = more or ((), False)
        found.append(Value(EventId(ms, seq), type_, key, data, tuple(lengths), removed))
    return found


def _packed(value: object) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed


def _id(numbers: Sequence[int] | None) -> EventId | None:
    return None if numbers is None else EventId(*numbers)
