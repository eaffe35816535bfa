"""What is written of a checkpoint is read again, and anything else is none."""

from __future__ import annotations

import msgpack
import pytest

from broadcaster.core.event import ZERO, EventId
from broadcaster.core.state.checkpoint import (
    Mark,
    field_of,
    key_of,
    mark_of,
    named,
    packed_values,
    values_of,
)
from broadcaster.core.state.values import Rules, Value

FULL = Mark(b"maker", EventId(9, 1), EventId(3, 0), 7, "last", 4)


@pytest.mark.parametrize(
    "mark", [FULL, FULL._replace(position=None, since=None), Mark(b"", ZERO, None, -1, "")]
)
def test_a_mark_is_read_as_it_was_written(mark: Mark) -> None:
    assert mark_of(mark.packed()) == mark


@pytest.mark.parametrize(
    "packed",
    [
        None,
        b"",
        b"\xc1",
        b"text",
        msgpack.packb([]),
        msgpack.packb({"a": 1}),
        msgpack.packb(None),
        msgpack.packb([2, b"maker", [9, 1], None, 7, "last", 4]),
        msgpack.packb([1, b"maker", 9, None, 7, "last", 4]),
        msgpack.packb([1, b"maker", [9], None, 7, "last", 4]),
    ],
)
def test_other_bytes_are_no_mark(packed: bytes | None) -> None:
    assert mark_of(packed) is None


def test_values_are_read_as_they_were_written() -> None:
    values = [
        Value(EventId(1, 0), "text", "k", b"\xe2\x82\xac", (1, 2)),
        Value(EventId(2, 5), "tool", "k", b"{}"),
        Value(EventId(3, 0), "gone", "k", b"", (), removed=True),
    ]
    assert values_of("k", packed_values(values)) == values
    assert values_of("k", packed_values([])) == []


@pytest.mark.parametrize("key", ["", "7", "at", "a:b", "ключ"])
def test_a_key_has_a_field_of_its_own(key: str) -> None:
    assert key_of(field_of(key)) == key
    assert field_of(key) != b"at"


def test_the_mark_is_the_field_of_no_key() -> None:
    assert key_of(b"at") is None


def test_a_mark_names_the_rules_that_decide_about_values() -> None:
    rules = Rules("append", frozenset({"sold", "gone"}), append="text")
    assert named(rules) == named(rules._replace(ttl_ms=7)) == "append|text|gone|sold"
