"""The quick way and the thorough one lead to the same frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.core import sse
from broadcaster.core.entry import decode, frames_of
from broadcaster.core.event import EventId
from broadcaster.core.sse import Frame
from broadcaster.errors import MalformedEntryError

LIMIT = 100

texts = st.text(st.sampled_from("ab\n\r\x00ä🐈 "), max_size=8)
types = texts | st.sampled_from(["", "message", "stream.live", "stock-change"])
values: Any = st.none() | st.booleans() | st.integers(-3, 3) | texts | st.binary(max_size=4)
arrays = st.lists(types | values, min_size=2, max_size=4) | st.tuples(types, texts, texts)
packed = st.one_of(arrays, values, st.dictionaries(texts, texts, max_size=3)).map(msgpack.packb)
fields = st.lists(st.sampled_from([b"m", b"type", b"data"]) | packed, max_size=6)


def thorough(entry_id: EventId, row_fields: Sequence[bytes]) -> Frame:
    try:
        return sse.encode(decode(entry_id, row_fields, LIMIT))
    except MalformedEntryError:
        return sse.skipped(entry_id)


def frames(*rows: tuple[EventId, Sequence[bytes]]) -> tuple[list[Frame], list[EventId]]:
    bad: list[EventId] = []
    entries = [[str(id_).encode(), row_fields] for id_, row_fields in rows]
    return frames_of(entries, LIMIT, lambda id_, _: bad.append(id_)), bad


@given(
    st.lists(
        st.tuples(st.integers(0, 2), fields.filter(lambda f: len(f) % 2 == 0) | packed), max_size=5
    )
)
def test_both_ways_lead_to_the_same_frames(rows: list[tuple[int, Any]]) -> None:
    entries = [
        (EventId(7 + ms, seq), [b"m", given] if isinstance(given, bytes) else given)
        for seq, (ms, given) in enumerate(rows)
    ]
    found, bad = frames(*entries)
    assert found == [thorough(*entry) for entry in entries]
    assert bad == [frame.id for frame in found if not frame.wire]


@pytest.mark.parametrize("data", ["x", "", "two\nlines", "a\rb", b"bytes", {"n": 1}, None, 7, [1]])
@pytest.mark.parametrize("type_", ["t", "", "message", None, "ä"])
def test_what_is_packed(type_: str | None, data: Any) -> None:
    row = EventId(5, 1), [b"m", msgpack.packb([type_, "k", data])]
    found, bad = frames(row, row)
    assert found == [thorough(*row)] * 2
    assert found[0].wire
    assert not bad


def test_what_looks_like_three_values_is_an_array_or_malformed() -> None:
    for value in ("abc", {"a": 1, "b": 2, "c": 3}, ["t", "k"], ["t", 1, "d"], [1, "k", "d"]):
        at = EventId(5, 1)
        assert frames((at, [b"m", msgpack.packb(value)])) == ([sse.skipped(at)], [at])


def test_the_limit_is_of_type_key_and_data_together() -> None:
    for size in (LIMIT - 2, LIMIT - 1):
        row = EventId(5, 1), [b"m", msgpack.packb(["t", "k", "x" * size])]
        assert frames(row)[0] == [thorough(*row)]
        assert bool(frames(row)[1]) == (size > LIMIT - 2)


def test_a_field_of_another_name_is_not_unpacked() -> None:
    row = EventId(5, 1), [b"data", msgpack.packb(["t", "k", "d"])]
    assert frames(row)[0] == [thorough(*row)]


def test_a_type_is_one_object() -> None:
    packed_field = msgpack.packb(["t", "k", "d"])
    one, two = frames(*((EventId(n, 0), [b"m", packed_field]) for n in range(2)))[0]
    assert one.type is two.type
