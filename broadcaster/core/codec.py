"""Stream entries: fields to event and back. Pure.

Two forms are read, and unknown fields are ignored:

* plain: `type`, `key`, `data` (UTF-8), for any language and for `redis-cli`;
* packed: `m`, a msgpack array `[type, key, data]`, smaller and faster to parse, which our
  publisher writes. `data` as str or bin goes out as it is, any other value as compact JSON.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgpack
import orjson

from broadcaster.core.event import Event, EventId
from broadcaster.errors import InvalidEventError, MalformedEntryError

DEFAULT_TYPE = "message"
RESERVED_PREFIX = "stream."
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PACKED_LENGTH = 3


def decode(entry_id: EventId, fields: Sequence[bytes], max_event_bytes: int) -> Event:
    """Make the event of an entry.

    Args:
        entry_id: the id of the entry.
        fields: names and values in turn, `[name, value, name, value, …]`, as Redis sends them. Of
            a field that occurs twice the last one counts.
        max_event_bytes: the most bytes of type, key and data together.

    Raises:
        MalformedEntryError: the entry can't be sent safely. The caller counts it and goes on.
    """
    if len(fields) == 2 and fields[0] == b"m":  # what our publisher writes, and nothing else
        type_, key, data = _unpack(fields[1])
    else:
        named = dict(zip(fields[::2], fields[1::2], strict=True))
        packed = named.get(b"m")
        type_, key, data = _plain(named) if packed is None else _unpack(packed)
    check_type(type_)
    if len(data) + len(key) + len(type_) > max_event_bytes:
        raise MalformedEntryError(f"larger than max_event_bytes ({max_event_bytes})")
    return Event(entry_id, type_ or DEFAULT_TYPE, key, data)


def check_type(type_: str) -> None:
    """Refuse a type that can't be sent safely.

    Raises:
        MalformedEntryError: it would break the frame, or pass for an event of the hub's.
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


def _unpack(packed: bytes) -> tuple[str, str, bytes]:
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
        return type_, key, data.encode() if isinstance(data, str) else orjson.dumps(data)
    except (UnicodeError, TypeError, orjson.JSONEncodeError) as error:
        raise MalformedEntryError("data that is neither UTF-8 nor JSON") from error


def encode(type_: str, key: str, data: Any) -> dict[bytes, bytes]:
    """Make the fields of a packed entry.

    Args:
        type_: the event name; `""` and `message` mean the default.
        key: what the event is about; `""` for the whole channel.
        data: a str or bytes goes out as it is, any other value as compact JSON.

    Raises:
        InvalidEventError: a node could not deliver it: a type or key that is no str, a control
            character or a reserved prefix in the type, data that is not UTF-8 or has no JSON form.
    """
    if not all(isinstance(text, str) for text in (type_, key)):
        raise InvalidEventError("type and key must be strings")
    if _CONTROL.search(type_) or type_.startswith(RESERVED_PREFIX):
        raise InvalidEventError(
            f"type {type_[:64]!r}: no control characters, and not beginning with 'stream.'"
        )
    try:
        if isinstance(data, bytes):
            data = data.decode()
        elif not isinstance(data, str):
            data = orjson.dumps(data).decode()
        packed: bytes = msgpack.packb([type_, key, data])
    except (UnicodeError, TypeError, orjson.JSONEncodeError) as error:
        raise InvalidEventError(f"data must be UTF-8 text or have a JSON form: {error}") from error
    return {b"m": packed}
