import contextlib
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.core.entry import decode, encode, frames_of
from broadcaster.core.event import Event, EventId
from broadcaster.errors import InvalidEventError, MalformedEntryError

AT = EventId(1, 0)
LIMIT = 1000


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
def test_what_cannot_be_sent_safely_is_malformed(fields: tuple[bytes, ...]) -> None:
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
def test_what_a_publisher_encodes_a_node_decodes(type_: str, key: str, data: str) -> None:
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


@pytest.mark.parametrize(
    ("type_", "data"),
    [
        ("a\nb", "x"),
        ("stream.live", "x"),
        ("t", b"\xff"),
        ("t", object()),
        ("t", {1, 2}),
        ("t", 1 << 70),
        ("t", "\ud800"),
    ],
)
def test_a_publisher_refuses_what_no_node_could_send(type_: str, data: Any) -> None:
    with pytest.raises(InvalidEventError):
        encode(type_, "k", data)


@pytest.mark.parametrize(("type_", "key"), [("t", 7), ("t", None), (None, "k"), ("t", b"k")])
def test_type_and_key_are_text(type_: Any, key: Any) -> None:
    with pytest.raises(InvalidEventError, match="must be strings"):
        encode(type_, key, "x")


def test_a_large_packed_field_is_not_even_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a node would spend seconds and gigabytes on what it can't send, also when it starts."""
    monkeypatch.setattr("msgpack.unpackb", lambda packed: pytest.fail(f"{len(packed)} bytes"))
    bomb = b"\xdd" + (2000).to_bytes(4, "big") + b"\x80" * 2000  # an array of 2,000 empty maps
    for fields in ([b"m", bomb], [b"other", b"", b"m", bomb]):
        with pytest.raises(MalformedEntryError, match="larger than max_event_bytes"):
            decode(EventId(1, 0), fields, 1000)
    malformed: list[EventId] = []
    (frame,) = frames_of([[b"1-0", [b"m", bomb]]], 1000, lambda id_, _: malformed.append(id_))
    assert not frame.wire
    assert malformed == [EventId(1, 0)]


def test_what_just_fits_is_unpacked() -> None:
    for size in (0, 31, 32, 255, 256, 65535, 65536):
        key, data = "k" * 31, "d" * size
        limit = 4 + len(key) + len(data)
        fields = [b"m", encode("type", key, data)[b"m"]]
        assert decode(EventId(1, 0), fields, limit).data == data.encode()
        with pytest.raises(MalformedEntryError):
            decode(EventId(1, 0), fields, limit - 1)
