"""Decodes the entries of a stream to events and frames, and encodes events to entries. Pure.

There are two forms of an entry. Unknown fields are ignored:

* plain: `type`, `key`, `data` (UTF-8), for any language and for `redis-cli`;
* packed: `m`, a msgpack array `[type, key, data]`, smaller and faster to parse, which our
  publisher writes. `data` as str or bin goes out as it is, any other value as compact JSON.

`decode` reads both forms. `frames_of` has a faster way for the entries of our publisher, because a
node decodes every event, also one without subscribers. Both ways make the same frames.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import msgpack

from broadcaster.core import sse
from broadcaster.core.event import DEFAULT_TYPE, Event, EventId
from broadcaster.core.json import jsontext
from broadcaster.core.sse import Frame
from broadcaster.core.wire import RESERVED_PREFIX, RESTART
from broadcaster.errors import BroadcasterError, InvalidEventError

Row: TypeAlias = Sequence[Any]
"""An entry as Redis sends it: `[id, [name, value, …]]`, all of them bytes."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PACKED_LENGTH = 3
# The most bytes that msgpack adds to three strings: a head for each, and one for the array.
_PACKING_BYTES = 16
_ARRAY_OF_THREE = 0x93  # https://github.com/msgpack/msgpack/blob/master/spec.md#array-format-family
_REMEMBERED_CHARS = 256
_new = tuple.__new__  # the constructor of a named tuple takes twice as long


class MalformedEntryError(BroadcasterError):
    """A stream entry can't be sent as an event. `str(error)` is the reason."""


def frames_of(
    rows: Sequence[Row],
    max_event_bytes: int,
    malformed: Callable[[EventId, MalformedEntryError], object],
) -> list[Frame]:
    """Return one frame for each entry, in order.

    Args:
        rows: the entries.
        max_event_bytes: the most bytes of type, key and data together.
        malformed: called with each entry that can't be sent safely. Its frame has no bytes.
    """
    # An entry of our publisher takes 1.8 µs, a quarter of it in msgpack; other entries take 4.5 µs.
    # Neighbours often have the same milliseconds, so they share one int, which also saves memory.
    frames, shared, ms = [], b"", 0
    for raw_id, fields in rows:
        raw_ms, _, seq = raw_id.partition(b"-")
        if raw_ms != shared:
            shared, ms = raw_ms, int(raw_ms)
        entry_id = _new(EventId, (ms, int(seq)))
        frame = _at_once(raw_id, entry_id, fields, max_event_bytes)
        if frame is None:
            try:
                frame = sse.encode(decode(entry_id, fields, max_event_bytes))
            except MalformedEntryError as error:
                malformed(entry_id, error)
                frame = sse.skipped(entry_id)
        frames.append(frame)
    return frames


def _at_once(
    raw_id: bytes, entry_id: EventId, fields: Sequence[bytes], max_event_bytes: int
) -> Frame | None:
    """Return the frame of a packed entry with one line of text; None for any other entry."""
    try:
        name, packed = fields
        if len(packed) > max_event_bytes + _PACKING_BYTES:
            return None
        type_, key, data = msgpack.unpackb(packed)
        sent_type, between = _type(type_)
        usual = name == b"m" and packed[0] == _ARRAY_OF_THREE and type(key) is str
        if not usual or "\n" in data or "\r" in data:
            return None
        data = data.encode()
    except (ValueError, TypeError, AttributeError, msgpack.UnpackException, MalformedEntryError):
        return None
    if len(data) + len(key) + len(type_) > max_event_bytes:
        return None
    wire = b"".join((b"id: ", raw_id, between, data, b"\n\n"))
    return _new(Frame, (entry_id, sent_type, key, wire))


@lru_cache(maxsize=1024)  # most producers have few types; more than 1024 only take more time
def _type(type_: str) -> tuple[str, bytes]:
    """Return a type as it is sent, and the bytes between the id and the data.

    Raises:
        ValueError: the type is too long to be remembered. Errors are not remembered.
        MalformedEntryError: no event may have this type.
    """
    if len(type_) > _REMEMBERED_CHARS:
        raise ValueError("a long type")
    check_type(type_)
    if type_ in ("", DEFAULT_TYPE):
        return DEFAULT_TYPE, b"\ndata: "
    return sys.intern(type_), b"\nevent: %b\ndata: " % type_.encode()


def decode(entry_id: EventId, fields: Sequence[bytes], max_event_bytes: int) -> Event:
    """Make the event of an entry.

    Args:
        entry_id: the id of the entry.
        fields: names and values in turn, `[name, value, name, value, …]`, as Redis sends them. If
            a name occurs twice, its last value counts.
        max_event_bytes: the most bytes of type, key and data together.

    Raises:
        MalformedEntryError: the entry can't be sent safely.
    """
    if len(fields) == 2 and fields[0] == b"m":  # what our publisher writes, and nothing else
        type_, key, data = _unpack(fields[1], max_event_bytes)
    else:
        named = dict(zip(fields[::2], fields[1::2], strict=True))
        packed = named.get(b"m")
        type_, key, data = _plain(named) if packed is None else _unpack(packed, max_event_bytes)
    if type_ != RESTART.type:  # of a worker that begins the answer of a run anew
        check_type(type_)
    if len(data) + len(key) + len(type_) > max_event_bytes:
        raise MalformedEntryError(f"larger than max_event_bytes ({max_event_bytes})")
    return Event(entry_id, type_ or DEFAULT_TYPE, key, data)


def frame_of(id: EventId, *, type: str = DEFAULT_TYPE, key: str = "", data: Any = "") -> Frame:
    """Make the frame of an event that comes from no entry of Redis.

    Args:
        id: its id.
        type: the SSE event name.
        key: what the event is about; `""` for the whole channel.
        data: a str or bytes goes out as it is, any other value as compact JSON.

    Returns:
        The frame, with the bytes that a node makes of the same event in Redis.

    Raises:
        InvalidEventError: no node could deliver the event.
    """
    packed = encode(type, key, data)[b"m"]
    return sse.encode(decode(id, [b"m", packed], len(packed)))


def check_type(type_: str) -> None:
    """Refuse a type that can't be sent safely.

    Raises:
        MalformedEntryError: it would break the frame, or look like an event of the hub itself.
    """
    if _CONTROL.search(type_):
        raise MalformedEntryError("control character in the type")
    if type_.startswith(RESERVED_PREFIX):
        raise MalformedEntryError("types that begin with 'stream.' are reserved for the hub")


def _plain(named: dict[bytes, bytes]) -> tuple[str, str, bytes]:
    data = named.get(b"data", b"")
    try:
        data.decode()
        return named.get(b"type", b"").decode(), named.get(b"key", b"").decode(), data
    except UnicodeDecodeError as error:
        raise MalformedEntryError("bytes that are not UTF-8") from error


def _unpack(packed: bytes, max_event_bytes: int) -> tuple[str, str, bytes]:
    # Before unpacking: 20 MB of empty maps would block the event loop for ten seconds.
    if len(packed) > max_event_bytes + _PACKING_BYTES:
        raise MalformedEntryError(f"larger than max_event_bytes ({max_event_bytes})")
    try:
        array = msgpack.unpackb(packed)
    except (ValueError, msgpack.UnpackException) as error:
        raise MalformedEntryError("the packed field is not valid msgpack") from error
    if not isinstance(array, list) or len(array) != _PACKED_LENGTH:
        raise MalformedEntryError("the packed field is not an array [type, key, data]")
    type_, key, data = array
    type_, key = type_ or "", key or ""
    if not isinstance(type_, str) or not isinstance(key, str):
        raise MalformedEntryError("type and key of a packed entry must be strings")
    try:
        if isinstance(data, bytes):
            data.decode()
            return type_, key, data
        return type_, key, data.encode() if isinstance(data, str) else jsontext.encode(data)
    except ValueError as error:
        raise MalformedEntryError("data that is neither UTF-8 nor JSON") from error


def encode(type_: str, key: str, data: Any) -> dict[bytes, bytes]:
    """Return the fields of a packed entry.

    Args:
        type_: the event name; `""` and `message` mean the default.
        key: what the event is about; `""` for the whole channel.
        data: a str or bytes goes out as it is, any other value as compact JSON.

    Raises:
        InvalidEventError: a node could not deliver the event. Its type or key is no str, its type
            has a control character or the reserved prefix, or its data is not UTF-8 or has no JSON
            form.
    """
    if not all(isinstance(text, str) for text in (type_, key)):
        raise InvalidEventError("type and key must be strings")
    _check_new_type(type_)
    try:
        packed: bytes = msgpack.packb([type_, key, text_of(data)])
    except UnicodeError as error:
        raise InvalidEventError(f"type, key and data must be UTF-8: {error}") from error
    return {b"m": packed}


def size_of(type_: str, key: str, data: str) -> int:
    """Return the bytes of an event's texts.

    Raises:
        InvalidEventError: a node could not deliver it, as for `encode`.
    """
    _check_new_type(type_)
    text = type_ + key + data
    try:
        return len(text) if text.isascii() else len(text.encode())
    except UnicodeError as error:
        raise InvalidEventError(f"type, key and data must be UTF-8: {error}") from error


def _check_new_type(type_: str) -> None:
    if _CONTROL.search(type_) or type_.startswith(RESERVED_PREFIX):
        raise InvalidEventError(
            f"type {type_[:64]!r}: no control characters, and not beginning with 'stream.'"
        )


def text_of(data: Any) -> str:
    """Return the data of an event as clients get it: a str or bytes as it is, else compact JSON.

    Raises:
        InvalidEventError: it is not UTF-8, or has no JSON form.
    """
    if isinstance(data, str):
        return data
    try:
        return data.decode() if isinstance(data, bytes) else jsontext.encode(data).decode()
    except jsontext.NotJsonError as error:
        raise InvalidEventError(f"data has no JSON form: {error}") from error
    except UnicodeError as error:
        raise InvalidEventError(f"type, key and data must be UTF-8: {error}") from error
