"""Reads events that producers send as JSON. The text of `data` stays as it is. Pure.

A parser would turn `1.10` into `1.1`, and large whole numbers into floats. So only the fields of an
event are parsed, and `data` is cut out of the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, NoReturn, Protocol, TypeAlias

import orjson

from broadcaster.core.event import DEFAULT_TYPE, EventId
from broadcaster.errors import InvalidEventError

Fields: TypeAlias = dict[str, tuple[Any, str]]
"""The fields of an object: each value parsed, and as it is written. Numbers stay text."""

_FIELDS = ("type", "key", "data", "id")
# https://www.rfc-editor.org/rfc/rfc8259#section-2
_SPACE = re.compile(r"[ \t\n\r]*")
_MARK = re.compile(r"[ \t\n\r]*([:,\]}])[ \t\n\r]*")
# The usual form of a line: plain texts, and `data` behind them. What is taken for `data` may have
# more fields in it. So it counts only if it is one value of JSON.
_USUAL = re.compile(
    r'\{ ?(?:"type": ?"([^"\\\x00-\x1f]*)", ?)?(?:"key": ?"([^"\\\x00-\x1f]*)", ?)?'
    r'(?:"id": ?"([^"\\\x00-\x1f]*)", ?)?"data":(.+)\}',
    re.DOTALL,
)
_EXPECTED = 'expected an object like {"type": "stock-change", "key": "019b", "data": {"n": 1}}'


class Incoming(NamedTuple):
    """An event that a producer sends.

    Attributes:
        type: the SSE event name.
        key: the thing that the event is about.
        data: the text to send.
        id: the id that its producer gives it; empty if it has none.
    """

    type: str
    key: str
    data: str
    id: str = ""


class Publication(NamedTuple):
    """Events of one channel that are published together.

    Attributes:
        channel: its name.
        events: type, key and data of each, in order.
        key: the idempotency key; without one the events are published each time.
    """

    channel: str
    events: Sequence[tuple[str, str, Any]]
    key: str = ""


def publications(channel: str, events: Sequence[Incoming]) -> Iterator[Publication]:
    """Yield events as publications: those with an id one by one, as it is their key."""
    without = list[Incoming]()
    for event in events:
        if not event.id:
            without.append(event)
            continue
        if without:
            yield Publication(channel, [one[:3] for one in without])
            without = []
        yield Publication(channel, [event[:3]], f"id:{event.id}")
    if without:
        yield Publication(channel, [one[:3] for one in without])


class Published(Protocol):
    """The result of a publication."""

    @property
    def ids(self) -> Sequence[EventId | None]:
        """Return the ids of its events, in order; None for one that is not certainly stored."""

    @property
    def refused(self) -> bool:
        """Return True if its key was used for other events, so that none of these is stored."""


def _no_constant(text: str) -> NoReturn:
    raise InvalidEventError(f"{text} is no value of JSON")


# Numbers stay text: nothing is done with them, and int() refuses more than 4,300 digits.
_JSON = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_no_constant)


def parse(line: bytes) -> Incoming:
    """Read one event. A `data` that is a JSON string is the text in it, any other the JSON itself.

    Raises:
        json.JSONDecodeError: it is not JSON.
        InvalidEventError: it is no event.
    """
    text = _decoded(line)
    if usual := _usual(text):
        return usual
    fields, at = _object(text, 0)
    _check_end(text, at)
    return plain(fields)


def _usual(text: str) -> Incoming | None:
    """Return the event of a line in the usual form, in a seventh of the time; None for others."""
    match = _USUAL.fullmatch(text)
    if not match:
        return None
    type_, key, id_, data = match.groups("")
    data = data.strip(" \t\n\r")
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:  # it is no JSON, or more than orjson takes
        return None
    return Incoming(type_ or DEFAULT_TYPE, key, value if isinstance(value, str) else data, id_)


def parse_each(body: bytes, read: Callable[[Fields], Incoming]) -> Iterator[Incoming]:
    """Yield the events of a body: one object, or an array of objects.

    Args:
        body: the whole of it.
        read: makes an event of the fields of an object, such as `plain`.

    Raises:
        json.JSONDecodeError: it is not JSON.
        InvalidEventError: a part of it is no event. The text names the part, in an array.
    """
    text = _decoded(body)
    if not text.startswith("["):
        fields, at = _object(text, 0)
        yield read(fields)
    else:
        number, at = 0, _after_space(text, 1)
        while number or not text.startswith("]", at):
            number += 1
            try:
                fields, at = _object(text, at)
                event = read(fields)
            except InvalidEventError as error:
                raise InvalidEventError(f"event {number}: {error}") from error
            yield event
            mark, at = _mark(",]", text, at)
            if mark == "]":
                break
        else:
            at += 1
    _check_end(text, at)


def plain(fields: Fields) -> Incoming:
    """Return the event of an object with `data`, and perhaps `type`, `key` and `id`.

    Raises:
        InvalidEventError: it is no event.
    """
    if "data" not in fields or fields.keys() - set(_FIELDS):
        raise InvalidEventError(_EXPECTED)
    value, raw = fields["data"]
    data = value if raw.startswith('"') else raw
    type_, key, id_ = (text_of(fields, name) for name in ("type", "key", "id"))
    return Incoming(type_ or DEFAULT_TYPE, key, data, id_)


def text_of(fields: Fields, name: str) -> str:
    """Return a field that is a text; empty if it is null, or is not there.

    Raises:
        InvalidEventError: it is something else.
    """
    value, raw = fields.get(name, (None, "null"))
    if raw == "null":
        return ""
    if not raw.startswith('"'):  # a number is a str here, too
        raise InvalidEventError(f"{name} must be a text, not {raw[:64]}")
    return str(value)


def _decoded(body: bytes) -> str:
    try:
        return body.decode().strip(" \t\n\r")
    except UnicodeDecodeError as error:
        raise InvalidEventError("it is not UTF-8") from error


def _object(text: str, at: int) -> tuple[Fields, int]:
    """Return the fields of the object that begins here, and where what follows it begins."""
    if not text.startswith("{", at):
        _value(text, at)  # raises if it is not JSON at all
        raise InvalidEventError(_EXPECTED)
    found: Fields = {}
    at = _after_space(text, at + 1)
    if text.startswith("}", at):
        return found, at + 1
    while True:
        name, at = _value(text, at)
        if not isinstance(name, str) or text[at - 1] != '"':
            raise json.JSONDecodeError("Expecting a name in double quotes", text, at)
        _, start = _mark(":", text, at)
        value, at = _value(text, start)
        if name in found:
            raise InvalidEventError(f"{name!r} occurs twice")
        found[name] = value, text[start:at]
        mark, at = _mark(",}", text, at)
        if mark == "}":
            return found, at


def _check_end(text: str, at: int) -> None:
    if at != len(text):
        raise json.JSONDecodeError("Extra data", text, at)


def _value(text: str, at: int) -> tuple[Any, int]:
    try:
        return _JSON.raw_decode(text, at)
    except RecursionError as error:
        raise InvalidEventError("it is nested too deep") from error


def _mark(expected: str, text: str, at: int) -> tuple[str, int]:
    """Return the mark that comes next, one of these characters, and where what follows begins."""
    match = _MARK.match(text, at)
    if not match or match[1] not in expected:
        named = " or ".join(map(repr, expected))
        raise json.JSONDecodeError(f"Expecting {named}", text, _after_space(text, at))
    return match[1], match.end()


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    assert match
    return match.end()
