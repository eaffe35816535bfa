"""Entries become events or are malformed. Both ways from entries to frames agree."""

from __future__ import annotations

import contextlib
import tracemalloc
from collections.abc import Sequence
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.core import entry, sse
from broadcaster.core.entry import (
    MalformedEntryError,
    decode,
    encode,
    frame_of,
    frames_of,
    size_of,
)
from broadcaster.core.event import Event, EventId
from broadcaster.core.sse import Frame
from broadcaster.errors import InvalidEventError
from tests.saying import saying

AT = EventId(1, 0)
LIMIT = 1000
SMALL = 100  # the limit of what is compared below


def read(*fields: bytes) -> Event:
    return decode(AT, fields, LIMIT)


def packed(value: Any) -> Event:
    return read(b"m", msgpack.packb(value))


def test_plain_entries() -> None:
    assert read(b"type", b"t", b"key", b"k", b"data", b'{"n":1}') == Event(AT, "t", "k", b'{"n":1}')
    assert read(b"data", b"x") == Event(AT, "message", "", b"x")
    assert read(b"other", b"y") == Event(AT, "message", "", b"")
    assert read(b"data", b"old", b"data", b"new").data == b"new"


def test_packed_entries() -> None:
    assert packed(["t", "k", "d"]) == Event(AT, "t", "k", b"d")
    assert packed(["t", "k", b"d"]).data == b"d"
    assert packed(["t", "k", {"b": [1, None, "ä"]}]).data == '{"b":[1,null,"ä"]}'.encode()
    assert packed([None, None, None]) == Event(AT, "message", "", b"null")


def test_unknown_fields_beside_a_packed_one_are_ignored() -> None:
    field = msgpack.packb(["t", "k", "d"])
    assert read(b"trace", b"\xff", b"m", field) == Event(AT, "t", "k", b"d")


@pytest.mark.parametrize(
    "fields",
    [
        (b"type", b"a\nb"),
        (b"type", b"a\rb"),
        (b"type", b"a\x00b"),
        (b"type", b"\x7f"),
        (b"type", b"stream.reset"),
        (b"type", b"\xff"),
        (b"key", b"\xff"),
        (b"data", b"\xff"),
        (b"data", b"x" * (LIMIT + 1)),
        (b"m", b""),
        (b"m", b"\xc1"),
        (b"m", b"\x93\xa1t\xa1k"),
        (b"m", b"\x91" * 5000),
        (b"m", msgpack.packb("text")),
        (b"m", msgpack.packb({"type": "t"})),
        (b"m", msgpack.packb(["t", "k"])),
        (b"m", msgpack.packb(["t", "k", "d", "more"])),
        (b"m", msgpack.packb([1, "k", "d"])),
        (b"m", msgpack.packb(["t", ["k"], "d"])),
        (b"m", msgpack.packb(["t", "k", b"\xff"])),
        (b"m", msgpack.packb(["t", "k", {"b": b"bytes in JSON"}])),
        (b"m", msgpack.packb(["t", "k", msgpack.ExtType(1, b"x")])),
        (b"m", msgpack.packb(["a\nb", "k", "d"])),
    ],
)
def test_an_entry_that_cannot_be_sent_safely_is_malformed(fields: tuple[bytes, ...]) -> None:
    with pytest.raises(MalformedEntryError):
        read(*fields)


@given(st.lists(st.binary(max_size=40), max_size=12).filter(lambda fields: len(fields) % 2 == 0))
def test_rubbish_is_decoded_or_malformed_and_nothing_else(fields: list[bytes]) -> None:
    with contextlib.suppress(MalformedEntryError):
        read(*fields)


@given(st.binary(max_size=60))
def test_packed_rubbish_is_decoded_or_malformed(field: bytes) -> None:
    with contextlib.suppress(MalformedEntryError):
        read(b"m", field)


def fields_of(type_: str, key: str, data: Any) -> list[bytes]:
    return [part for pair in encode(type_, key, data).items() for part in pair]


@given(st.text().filter(str.isprintable), st.text(), st.text(max_size=200))
def test_a_node_decodes_the_entries_of_a_publisher(type_: str, key: str, data: str) -> None:
    try:
        fields = fields_of(type_, key, data)
    except InvalidEventError:
        assert type_.startswith("stream.")
        return
    assert decode(AT, fields, 10_000) == Event(AT, type_ or "message", key, data.encode())


def test_a_publisher_sends_text_as_it_is_and_values_as_json() -> None:
    assert read(*fields_of("", "", {"b": 1, "a": "ä"})).data == '{"b":1,"a":"ä"}'.encode()
    assert read(*fields_of("", "", b"\xc3\xa4")).data == "ä".encode()
    assert read(*fields_of("", "", None)).data == b"null"
    assert read(*fields_of("", "", [10**30])).data == b"[%d]" % 10**30


def test_the_error_says_where_the_value_is_that_json_has_not() -> None:
    with pytest.raises(InvalidEventError, match=r'data\["a"\]\[1\]: nan is no number of JSON'):
        encode("t", "", {"a": [1, float("nan")]})


def test_an_infinite_number_of_another_producer_does_not_become_null() -> None:
    packed = msgpack.packb(["t", "", {"a": float("inf")}])
    with saying(MalformedEntryError, "data that is neither UTF-8 nor JSON"):
        decode(EventId(5, 0), [b"m", packed], 1000)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ([b"m", b"\xc1"], "the packed field is not valid msgpack"),
        ([b"m", msgpack.packb(["t", "k"])], "the packed field is not an array [type, key, data]"),
        ([b"m", msgpack.packb(["t", 7, "x"])], "type and key of a packed entry must be strings"),
        ([b"m", msgpack.packb(["t", "k", b"\xff"])], "data that is neither UTF-8 nor JSON"),
        ([b"m", msgpack.packb(["t", "k", "x" * 1000])], "larger than max_event_bytes (1000)"),
        ([b"data", b"x" * 1001], "larger than max_event_bytes (1000)"),
        ([b"data", b"\xff"], "bytes that are not UTF-8"),
        ([b"type", b"a\nb"], "control character in the type"),
        (
            [b"type", b"stream.live"],
            "types that begin with 'stream.' are reserved for the hub",
        ),
    ],
)
def test_a_malformed_entry_is_skipped_with_its_reason(fields: list[bytes], said: str) -> None:
    with saying(MalformedEntryError, said):
        decode(AT, fields, 1000)
    reasons = list[str]()
    (frame,) = frames_of([[b"5-0", fields]], 1000, lambda _, error: reasons.append(str(error)))
    assert (frame.wire, frame.type, frame.key, reasons) == (b"", "", "", [said])


@pytest.mark.parametrize("type_", ["t", "", "message", "é" * 100])
@pytest.mark.parametrize("data", ["", '{"n":1}', "d" * 700])
def test_what_our_publisher_sends_is_read_in_the_short_way(
    type_: str, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = Event(AT, type_ or "message", "k" * 64, data.encode())
    size = len(type_.encode()) + 64 + len(data)
    monkeypatch.setattr(entry, "decode", lambda *_: pytest.fail("it takes more than twice as long"))
    row = [b"1-0", fields_of(type_, event.key, data)]
    assert frames_of([row, row], size, lambda *_: None) == [sse.encode(event)] * 2


def test_an_event_of_just_the_bytes_that_are_allowed_is_sent() -> None:
    for fields in ([b"m", msgpack.packb(["t", "k", "x" * 998])], [b"data", b"x" * 1000]):
        assert frames_of([[b"5-0", fields]], 1000, lambda *_: pytest.fail("it fits"))[0].wire


@pytest.mark.parametrize(
    ("type_", "data"),
    [
        ("a\nb", "x"),
        ("stream.live", "x"),
        ("t", b"\xff"),
        ("t", object()),
        ("t", {1, 2}),
        ("t", float("nan")),
        ("t", {"a": [float("inf")]}),
        ("t", {1: 2}),
        ("t", "\ud800"),
    ],
)
def test_a_publisher_refuses_what_no_node_could_send(type_: str, data: Any) -> None:
    with pytest.raises(InvalidEventError):
        encode(type_, "k", data)


@given(st.text(max_size=9), st.text(max_size=9), st.text(max_size=9))
def test_an_event_has_a_size_if_a_publisher_may_send_it(type_: str, key: str, data: str) -> None:
    try:
        encode(type_, key, data)
    except InvalidEventError:
        with pytest.raises(InvalidEventError):
            size_of(type_, key, data)
    else:
        assert size_of(type_, key, data) == len(f"{type_}{key}{data}".encode())


@pytest.mark.parametrize("texts", [("stream.live", "", ""), ("t\n", "", ""), ("t", "", "\ud800")])
def test_an_event_that_a_publisher_may_not_send_has_no_size(texts: tuple[str, str, str]) -> None:
    with pytest.raises(InvalidEventError):
        size_of(*texts)


def test_a_refused_type_is_named_with_what_a_type_may_be() -> None:
    said = "no control characters, and not beginning with 'stream.'"
    with saying(InvalidEventError, f"type 'stream.{'x' * 57}': {said}"):
        encode("stream." + "x" * 58, "", "")


@pytest.mark.parametrize(("type_", "key"), [("t", 7), ("t", None), (None, "k"), ("t", b"k")])
def test_type_and_key_are_text(type_: Any, key: Any) -> None:
    with saying(InvalidEventError, "type and key must be strings"):
        encode(type_, key, "x")


def test_a_large_packed_field_is_not_even_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a node would spend seconds and gigabytes on what it can't send, also when it starts."""
    monkeypatch.setattr("msgpack.unpackb", lambda packed: pytest.fail(f"{len(packed)} bytes"))
    bomb = b"\xdd" + (2000).to_bytes(4, "big") + b"\x80" * 2000  # an array of 2,000 empty maps
    for fields in ([b"m", bomb], [b"other", b"", b"m", bomb]):
        with pytest.raises(MalformedEntryError, match="larger than max_event_bytes"):
            decode(EventId(1, 0), fields, 1000)
    malformed: list[tuple[EventId, str]] = []

    def note(id_: EventId, error: MalformedEntryError) -> None:
        malformed.append((id_, str(error)))

    (frame,) = frames_of([[b"1-0", [b"m", bomb]]], 1000, note)
    assert not frame.wire
    ((at, reason),) = malformed
    assert at == EventId(1, 0)
    assert "larger than max_event_bytes" in reason


def test_a_packed_field_at_the_limit_is_unpacked() -> None:
    for size in (0, 31, 32, 255, 256, 65535, 65536):
        key, data = "k" * 31, "d" * size
        limit = 4 + len(key) + len(data)
        fields = [b"m", encode("type", key, data)[b"m"]]
        assert decode(EventId(1, 0), fields, limit).data == data.encode()
        with pytest.raises(MalformedEntryError):
            decode(EventId(1, 0), fields, limit - 1)


texts = st.text(st.sampled_from("ab\n\r\x00ä🐈 "), max_size=8)
types = texts | st.sampled_from(["", "message", "stream.live", "stock-change"])
values: Any = st.none() | st.booleans() | st.integers(-3, 3) | texts | st.binary(max_size=4)
arrays = st.lists(types | values, min_size=2, max_size=4) | st.tuples(types, texts, texts)
packed_fields = st.one_of(arrays, values, st.dictionaries(texts, texts, max_size=3)).map(
    msgpack.packb
)
some_fields = st.lists(st.sampled_from([b"m", b"type", b"data"]) | packed_fields, max_size=6)


def thorough(entry_id: EventId, row_fields: Sequence[bytes]) -> Frame:
    try:
        return sse.encode(decode(entry_id, row_fields, SMALL))
    except MalformedEntryError:
        return sse.skipped(entry_id)


def frames(*rows: tuple[EventId, Sequence[bytes]]) -> tuple[list[Frame], list[EventId]]:
    bad: list[EventId] = []
    entries = [[str(id_).encode(), row_fields] for id_, row_fields in rows]
    return frames_of(entries, SMALL, lambda id_, _: bad.append(id_)), bad


@given(
    st.lists(
        st.tuples(st.integers(0, 2), some_fields.filter(lambda f: len(f) % 2 == 0) | packed_fields),
        max_size=5,
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
def test_events_that_are_packed(type_: str | None, data: Any) -> None:
    row = EventId(5, 1), [b"m", msgpack.packb([type_, "k", data])]
    found, bad = frames(row, row)
    assert found == [thorough(*row)] * 2
    assert found[0].wire
    assert not bad


def test_a_packed_field_is_an_array_of_three_or_malformed() -> None:
    for value in ("abc", {"a": 1, "b": 2, "c": 3}, ["t", "k"], ["t", 1, "d"], [1, "k", "d"]):
        at = EventId(5, 1)
        assert frames((at, [b"m", msgpack.packb(value)])) == ([sse.skipped(at)], [at])


def test_the_limit_is_of_type_key_and_data_together() -> None:
    for size in (SMALL - 2, SMALL - 1):
        row = EventId(5, 1), [b"m", msgpack.packb(["t", "k", "x" * size])]
        assert frames(row)[0] == [thorough(*row)]
        assert bool(frames(row)[1]) == (size > SMALL - 2)


def test_a_field_of_another_name_is_not_unpacked() -> None:
    row = EventId(5, 1), [b"data", msgpack.packb(["t", "k", "d"])]
    assert frames(row)[0] == [thorough(*row)]


def test_a_type_is_one_object() -> None:
    packed_field = msgpack.packb(["t", "k", "d"])
    one, two = frames(*((EventId(n, 0), [b"m", packed_field]) for n in range(2)))[0]
    assert one.type is two.type


def test_long_types_of_a_careless_producer_are_not_kept() -> None:
    def memory_after(number: int) -> int:
        type_ = f"{number}".ljust(20_000, "x")
        row = b"%d-0" % number, [b"m", msgpack.packb([type_, "k", "d"])]
        made = frames_of([row], 1_000_000, lambda *_: None)
        assert made[0].type == type_
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        first, *_, last = [memory_after(number) for number in range(1, 50)]
    finally:
        tracemalloc.stop()
    assert last - first < 20_000


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ((b"m", msgpack.packb("text")), "the packed field is not an array [type, key, data]"),
        ((b"data", b"\xff"), "bytes that are not UTF-8"),
    ],
)
def test_a_malformed_entry_says_why(fields: tuple[bytes, ...], reason: str) -> None:
    with pytest.raises(MalformedEntryError) as caught:
        read(*fields)
    assert str(caught.value) == reason


def test_a_frame_has_neither_key_nor_data_unless_they_are_given() -> None:
    assert frame_of(AT) == sse.encode(Event(AT, "message", "", b""))


def test_a_frame_without_an_entry_is_that_of_the_same_entry() -> None:
    entry = encode("t", "k", {"n": 1})[b"m"]
    assert frame_of(AT, type="t", key="k", data={"n": 1}) == sse.encode(read(b"m", entry))
    with pytest.raises(InvalidEventError):
        frame_of(AT, type="two\nlines")


def test_a_restart_is_the_only_event_of_the_hub_that_an_entry_may_be() -> None:
    plain = [b"type", b"stream.restart", b"key", b"k", b"data", b"{}"]
    assert decode(EventId(1, 0), plain, 100).type == "stream.restart"
    plain[1] = b"stream.live"
    with pytest.raises(MalformedEntryError):
        decode(EventId(1, 0), plain, 100)
