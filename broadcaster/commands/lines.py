"""Reads the lines of `broadcaster publish`. The text of `data` stays as it is, digit by digit.

A parser would turn `1.10` into `1.1`, and large whole numbers into floats. So only the fields of
the line are parsed, and `data` is cut out of it.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple, NoReturn

from broadcaster.core.event import DEFAULT_TYPE
from broadcaster.errors import InvalidEventError

_FIELDS = ("type", "key", "data", "id")
_SPACE = re.compile(r"[ \t\n\r]*")  # https://www.rfc-editor.org/rfc/rfc8259#section-2
_EXPECTED = 'expected an object like {"type": "stock-change", "key": "019b", "data": {"n": 1}}'


class Line(NamedTuple):
    """An event of a line.

    Attributes:
        type: the SSE event name.
        key: what the event is about.
        data: the text to send.
    """

    type: str
    key: str
    data: str


def _no_constant(text: str) -> NoReturn:
    raise InvalidEventError(f"{text} is no value of JSON")


# Numbers stay text: nothing is done with them, and int() refuses more than 4,300 digits.
_JSON = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_no_constant)


def parse(line: bytes) -> Line:
    """Read a line. A `data` that is a JSON string is the text in it, any other the JSON itself.

    Raises:
        json.JSONDecodeError: it is not JSON.
        InvalidEventError: it is no event.
    """
    try:
        text = line.decode().strip(" \t\n\r")
    except UnicodeDecodeError as error:
        raise InvalidEventError("it is not UTF-8") from error
    if not text.startswith("{"):
        _JSON.decode(text)  # raises if it is not JSON at all
        raise InvalidEventError(_EXPECTED)
    found = _fields(text)
    if "data" not in found or found.keys() - set(_FIELDS):
        raise InvalidEventError(_EXPECTED)
    type_, key = (_text(name, found) for name in ("type", "key"))
    value, raw = found["data"]
    return Line(type_ or DEFAULT_TYPE, key, value if raw.startswith('"') else raw)


def _fields(text: str) -> dict[str, tuple[Any, str]]:
    """Return the value of each field of an object, parsed and as it is written."""
    found: dict[str, tuple[Any, str]] = {}
    at = _after_space(text, 1)
    while not text.startswith("}", at) or found:
        name, at = _value(text, at)
        if not isinstance(name, str) or text[at - 1] != '"':
            raise json.JSONDecodeError("Expecting a name in double quotes", text, at)
        at = _after(":", text, at)
        start = at
        value, at = _value(text, start)
        if name in found:
            raise InvalidEventError(f"{name!r} occurs twice")
        found[name] = value, text[start:at]
        at = _after_space(text, at)
        if text.startswith("}", at):
            break
        at = _after(",", text, at)
    if at + 1 != len(text):
        raise json.JSONDecodeError("Extra data", text, at + 1)
    return found


def _value(text: str, at: int) -> tuple[Any, int]:
    try:
        return _JSON.raw_decode(text, at)
    except RecursionError as error:
        raise InvalidEventError("it is nested too deep") from error


def _after(mark: str, text: str, at: int) -> int:
    at = _after_space(text, at)
    if not text.startswith(mark, at):
        raise json.JSONDecodeError(f"Expecting {mark!r}", text, at)
    return _after_space(text, at + 1)


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    assert match
    return match.end()


def _text(name: str, found: dict[str, tuple[Any, str]]) -> str:
    value, raw = found.get(name, (None, "null"))
    if raw == "null":
        return ""
    if not raw.startswith('"'):  # a number is a str here, too
        raise InvalidEventError(f"{name} must be a text, not {raw[:64]}")
    return str(value)
