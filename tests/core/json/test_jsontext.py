"""Values as JSON text, and what JSON has not."""

from __future__ import annotations

import json
import math
from collections import namedtuple
from dataclasses import dataclass
from datetime import UTC, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest

from broadcaster.core.json.jsontext import NotJsonError, encode, is_json
from tests.saying import saying

NAN, INF = math.nan, math.inf


@dataclass
class Pet:
    name: str
    weight: Any


class Color(Enum):
    RED = "red"
    BROKEN = NAN


Point = namedtuple("Point", "x y")
DEEP: list[Any] = []
for _ in range(300):
    DEEP = [DEEP]
LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (NAN, "data: nan is no number of JSON"),
        (INF, "data: inf"),
        (-INF, "data: -inf"),
        (1e400, "data: inf"),
        ([1, [2, NAN]], "data[1][1]: nan"),
        ({"a": {"b c": [None, INF]}}, 'data["a"]["b c"][1]: inf'),
        ((None, NAN), "data[1]: nan"),
        (Pet("Rex", NAN), "data.weight: nan"),
        (Color.BROKEN, "data: nan"),
        ({"n": 10**30, "x": NAN}, 'data["x"]: nan'),
        ({1: 2}, "data: the key 1 is no text"),
        ({"a": {None: 1}}, 'data["a"]: the key None is no text'),
        ({("a", "b"): 1}, "data: the key ('a', 'b')"),
        ({"\ud800": 1}, "data: the key '\\ud800'"),
        ({1, 2}, "data: JSON has no set"),
        ([frozenset()], "data[0]: JSON has no frozenset"),
        ({"a": b"bytes"}, 'data["a"]: JSON has no bytes'),
        (bytearray(b"x"), "data: JSON has no bytearray"),
        ([Decimal("1.10")], "data[0]: JSON has no Decimal"),
        (3j, "data: JSON has no complex"),
        (object(), "data: JSON has no object"),
        (range(3), "data: JSON has no range"),
        (iter([1]), "data: JSON has no list_iterator"),
        (Pet, "data: JSON has no type"),
        (["fine", "\ud800"], "data[1]: a text with a lone surrogate"),
        (time(1, tzinfo=UTC), "datetime.time"),
        (DEEP, "nested deeper than 250 levels"),
        (LOOP, "nested deeper than 250 levels"),
    ],
)
def test_what_json_has_not_is_refused_and_its_place_is_named(value: Any, said: str) -> None:
    with pytest.raises(NotJsonError) as caught:
        encode(value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        ({"a": [None, True, 1, 1.5, "é"]}, '{"a":[null,true,1,1.5,"é"]}'),
        (12345678901234567890123, "12345678901234567890123"),
        ({"n": -(10**30), "at": datetime(2026, 1, 31, tzinfo=UTC)},
         '{"n":-1000000000000000000000000000000,"at":"2026-01-31T00:00:00+00:00"}'),
        ({"n": 10**30, "name": "é"}, f'{{"n":{10**30},"name":"é"}}'),
        (datetime(2026, 1, 31, tzinfo=UTC), '"2026-01-31T00:00:00+00:00"'),
        (UUID(int=7), '"00000000-0000-0000-0000-000000000007"'),
        (Pet("Rex", None), '{"name":"Rex","weight":null}'),
        ([Color.RED, None], '["red",null]'),
        (Point(1, 2), "[1,2]"),
    ],
)  # fmt: skip
def test_everything_else_is_compact_json(value: Any, text: str) -> None:
    assert encode(value).decode() == text
    json.loads(text)


def test_a_value_may_be_250_levels_deep() -> None:
    for innermost in (10**30, None):  # which are looked into, level by level
        deep: Any = innermost
        for _ in range(250):
            deep = [deep]
        assert json.loads(encode(deep)) == deep
        with saying(NotJsonError, f"data{'[0]' * 251}: nested deeper than 250 levels"):
            encode([deep])


@pytest.mark.parametrize(
    "text",
    [
        *(b"1e400", b'"\\ud800"', b"1.10", b"1" * 5000, b' {"a":[1,\n2]} ', b"null", b'""'),
        *(b'{"a":1,"a":2}', b"-0", b"[" * 100 + b"]" * 100),
    ],
)
def test_a_text_is_json(text: bytes) -> None:
    assert is_json(text)


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"NaN", b"-Infinity", b"01", b"1 2", b"{", b'{"a":}', b"hello", b'"\xff"'),
        *(b"[" * 100_000, b"\xef\xbb\xbf1", b'"a\x01"', b"'a'"),
    ],
)
def test_a_text_is_no_json(text: bytes) -> None:
    assert not is_json(text)
