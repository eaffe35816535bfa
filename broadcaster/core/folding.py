"""Folds the data of events: JSON objects are patched, and texts of one field are joined. Pure.

* `merge`: the newest object per type, patched as RFC 7396 says. Data that is no object replaces it.
  https://www.rfc-editor.org/rfc/rfc7396#section-2
* `append`: all events in order. Neighbours of one type that differ only in one field, a text, are
  joined to one event. An event without that text stands as it is.

Numbers keep their digits as they were sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, TypeAlias

import orjson

from broadcaster.core.sse import Frame
from broadcaster.core.state import Rules, Value

Item: TypeAlias = Value | Frame
"""A value, or an event that is folded when it is needed."""

_MAX_DEPTH = 200  # orjson writes 254 levels
_MAX_DIGITS = 17
# What may be a number that Python would write with other digits. It may also be part of a text.
_NOT_PLAIN = re.compile(rb"[:\[,]\s*(?:-0|-?[0-9]{18}|-?[0-9]+[.eE])")


class _Number:
    """A number of JSON, as it was sent."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def _integer(text: str) -> int | _Number:
    return int(text) if len(text) <= _MAX_DIGITS and text != "-0" else _Number(text)


_numbers_as_sent = json.JSONDecoder(parse_int=_integer, parse_float=_Number).decode


def fold(rules: Rules, items: Sequence[Item]) -> tuple[Value, ...]:
    """Return the state of one key.

    Args:
        rules: of its channel.
        items: the values so far, and then the events since, in order.
    """
    if rules.kind == "append":
        # Only the last value can grow.
        folded = sum(isinstance(item, Value) for item in items[:-1])
        done = tuple(map(_value_of, items[: max(0, folded - 1)]))
        return done + _appended(rules.append, items[len(done) :])
    by_type = dict[str, list[Item]]()
    for item in items:
        by_type.setdefault(item.type, []).append(item)
    fold_type = _merged if rules.kind == "merge" else _last
    return tuple(sorted(fold_type(of_type) for of_type in by_type.values()))


def _value_of(item: Item) -> Value:
    return item if isinstance(item, Value) else Value(item.id, item.type, item.key, item.data)


def _last(items: Sequence[Item]) -> Value:
    return _value_of(items[-1])


def _merged(items: Sequence[Item]) -> Value:
    newest = items[-1]
    if len(items) == 1 and isinstance(newest, Value):
        return newest
    data, target = b"", None
    for item in items:
        data = item.data
        patch = _object(data)
        target = None if patch is None else _patched(target, patch)
    written = data if target is None else _written(target)
    return Value(newest.id, newest.type, newest.key, written)


def _patched(target: Any, patch: dict[str, Any]) -> dict[str, Any]:
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            result[name] = _patched(result.get(name), value)
        else:
            result[name] = value
    return result


def _appended(field: str, items: Sequence[Item]) -> tuple[Value, ...]:
    values = list[Value]()
    run = list[Item]()  # the items of the last value, with their texts
    texts, rest = list[str](), b""  # `rest` is all of their data but the texts
    for item in items:
        sent = _object(item.data) or {}
        text = sent.get(field)
        if not isinstance(text, str):
            values += _joined(field, run, texts)
            values.append(_value_of(item))
            run, texts = [], []
            continue
        sent[field] = ""
        own = orjson.dumps(sent, default=_fragment, option=orjson.OPT_SORT_KEYS)
        if run and not (own == rest and item.type == run[-1].type):
            values += _joined(field, run, texts)
            run, texts = [], []
        run.append(item)
        texts.append(text)
        rest = own
    values += _joined(field, run, texts)
    return tuple(values)


def _joined(field: str, run: Sequence[Item], texts: Sequence[str]) -> list[Value]:
    """Return the one value of neighbours that differ only in their texts; none if there are none.

    Args:
        field: that has the texts.
        run: the neighbours.
        texts: of each of them.
    """
    if len(run) < 2:
        return [_value_of(item) for item in run]
    first, newest = _object(run[0].data) or {}, run[-1]
    lengths = list[int]()
    for item, text in zip(run, texts, strict=True):
        known = item.lengths if isinstance(item, Value) else ()
        lengths += known or (len(text),)
    first[field] = "".join(texts)
    return [Value(newest.id, newest.type, newest.key, _written(first), tuple(lengths))]


def _object(data: bytes) -> dict[str, Any] | None:
    """Return data as an object; None if it is none, or nested too deeply to be written again."""
    if not data.startswith((b"{", b" ", b"\n", b"\t", b"\r")):
        return None
    try:
        found = orjson.loads(data)
        if not isinstance(found, dict) or not _is_shallow(data, found):
            return None
        plain = _NOT_PLAIN.search(data) is None
        return found if plain else _numbers_as_sent(data.decode())
    except ValueError:
        return None


def _is_shallow(data: bytes, found: dict[str, Any]) -> bool:
    if data.count(b"{") + data.count(b"[") <= _MAX_DEPTH:
        return True
    level: list[Any] = [found]
    for _ in range(_MAX_DEPTH):
        inner = [each.values() if isinstance(each, dict) else each for each in level]
        level = [part for each in inner for part in each if isinstance(part, dict | list)]
        if not level:
            return True
    return False


def _written(value: dict[str, Any]) -> bytes:
    return orjson.dumps(value, default=_fragment)


def _fragment(number: _Number) -> orjson.Fragment:
    return orjson.Fragment(number.text)
