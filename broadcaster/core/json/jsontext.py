"""Values as JSON text, and texts that are JSON. Pure.

What JSON has not is refused, and the error says where it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time
from enum import Enum
from math import isfinite
from typing import Any, NoReturn
from uuid import UUID

import orjson

_MAX_DEPTH = 250  # orjson's own limit is 254
# orjson has a form for times and UUIDs. Enums and what has parts are looked into.
_FINE = (Enum, int, list, tuple, datetime, date, time, UUID)


class NotJsonError(ValueError):
    """A value has no JSON form. `str(error)` says which part of it, and why."""


def encode(value: Any) -> bytes:
    """Return compact JSON. Whole numbers keep all their digits.

    Times, UUIDs, enums and dataclasses have the form that orjson gives them.

    Raises:
        NotJsonError: a part of it is NaN or infinite, a key that is no text, a text that is not
            Unicode, bytes, a set, or an object.
    """
    try:
        text = orjson.dumps(value)
    except (TypeError, orjson.JSONEncodeError) as error:
        _check(value)
        return _with_all_digits(value, error)
    if b"null" in text:  # orjson writes it for NaN and infinities as well as for None
        _check(value)
    return text


def is_json(text: bytes) -> bool:
    """Return True if a text in UTF-8 is one JSON value (RFC 8259), whatever a parser makes of it.

    Numbers may have any size. A text that is nested too deep for a parser counts as none.
    """
    try:
        orjson.loads(text)  # a tenth of the time, but it refuses 1e400 and a lone surrogate
    except orjson.JSONDecodeError:
        try:
            _DECODER.decode(text.decode())
        except (ValueError, RecursionError):
            return False
    return True


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no value of JSON")


# Numbers stay text: nothing is done with them, and int() refuses more than 4,300 digits.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_no_constant)


def _with_all_digits(value: Any, error: Exception) -> bytes:
    """Encode a value that has whole numbers above 64 bits, which orjson refuses."""
    try:
        return json.dumps(
            value,
            ensure_ascii=False,
            allow_nan=False,
            separators=(",", ":"),
            default=lambda one: json.loads(orjson.dumps(one)),
        ).encode()
    except (TypeError, ValueError, RecursionError) as also:
        raise NotJsonError(str(error)) from also


def _check(value: Any) -> None:
    """Raise a `NotJsonError` that names the first part that JSON has not."""
    # A stack instead of recursion, because values may be nested without end.
    parts: list[tuple[Any, str, int]] = [(value, "data", 0)]
    while parts:
        part, where, depth = parts.pop()
        if why := _problem(part, depth):
            raise NotJsonError(f"{where}: {why}")
        inner = [(each, where + index, depth + 1) for index, each in _inner(part)]
        parts += reversed(inner)


def _problem(value: Any, depth: int) -> str:
    """Return why a value is no JSON, without a look at its parts; empty if it is."""
    if depth > _MAX_DEPTH:
        return f"nested deeper than {_MAX_DEPTH} levels"
    if value is None or isinstance(value, _FINE) or _is_record(value):
        return ""
    if isinstance(value, str):
        return "" if _is_unicode(value) else "a text with a lone surrogate"
    if isinstance(value, float):
        return "" if isfinite(value) else f"{value} is no number of JSON"
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str) or not _is_unicode(key):
                return f"the key {key!r} is no text: JSON has only texts as keys"
        return ""
    return f"JSON has no {type(value).__name__}"


def _is_record(value: Any) -> bool:
    return is_dataclass(value) and not isinstance(value, type)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _inner(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a value, each with its place."""
    if isinstance(value, Enum):
        yield "", value.value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield f"[{json.dumps(key)}]", each
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield f"[{number}]", each
    elif _is_record(value):
        for field in fields(value):
            yield f".{field.name}", getattr(value, field.name)
