import json

import httpx
import httpx_sse
import pytest
import sseclient
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.core import sse
from broadcaster.core.event import Event, EventId

AT = EventId(1710000000000, 3)
texts = st.text(st.characters(exclude_categories=["Cs"]))
types = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)


def wire(data: str, type_: str = "message") -> bytes:
    return sse.encode(Event(AT, type_, "", data.encode())).wire


def parse_with_httpx(stream: bytes) -> list[tuple[str, str, str]]:
    headers = {"content-type": "text/event-stream"}
    response = httpx.Response(200, headers=headers, content=stream)
    return [(e.id, e.event, e.data) for e in httpx_sse.EventSource(response).iter_sse()]


def parse_with_sseclient(stream: bytes) -> list[tuple[str, str, str]]:
    return [(e.id or "", e.event, e.data) for e in sseclient.SSEClient(iter([stream])).events()]


def lf(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def test_the_bytes() -> None:
    assert wire("x") == b"id: 1710000000000-3\ndata: x\n\n"
    assert wire('{"n":1}', "stock-change") == (
        b'id: 1710000000000-3\nevent: stock-change\ndata: {"n":1}\n\n'
    )
    assert wire("") == b"id: 1710000000000-3\ndata: \n\n"
    assert wire("a\nb\r\nc\rd") == b"id: 1710000000000-3\ndata: a\ndata: b\ndata: c\ndata: d\n\n"


@given(texts, types)
def test_a_parser_gives_back_the_data_with_any_line_end_as_lf(data: str, type_: str) -> None:
    (event,) = parse_with_httpx(wire(data, type_))
    assert event == (str(AT), type_, lf(data))


@given(texts.filter(bool), types)
def test_another_parser_does_too(data: str, type_: str) -> None:
    # This one strips one space more than the standard says, and drops trailing LFs.
    (event,) = parse_with_sseclient(wire(f"[{data}]", f"t{type_.replace(':', '')}t"))
    assert event == (str(AT), f"t{type_.replace(':', '')}t", lf(f"[{data}]"))


@pytest.mark.parametrize(
    "data", ["\x00", "🐈", "a\u2028b\u2029c\x85d\x0be", " lead", "x" * 1_000_000]
)
def test_odd_data_is_unharmed(data: str) -> None:
    (event,) = parse_with_httpx(wire(data, "t"))
    assert event[2] == data


def test_a_composite_id_replaces_the_id_alone() -> None:
    frame = sse.encode(Event(AT, "t", "", b"id: 7\nx"))
    assert frame.with_cursor(b"a=1-0,b=2-0") == (
        b"id: a=1-0,b=2-0\nevent: t\ndata: id: 7\ndata: x\n\n"
    )


def test_a_skipped_entry_has_no_bytes_under_any_id() -> None:
    assert sse.skipped(AT).wire == b""
    assert sse.skipped(AT).with_cursor(b"a=1-0") == b""


def test_hub_events_are_events_with_json() -> None:
    assert sse.live(b"1-0", 3) == b'id: 1-0\nevent: stream.live\ndata: {"replayed":3}\n\n'
    block = sse.reset("orders", "trimmed", 'a"\n', "2-0", b"")
    assert block.startswith(b"event: stream.reset\n")
    assert json.loads(block.split(b"data: ")[1]) == {
        "channel": "orders",
        "reason": "trimmed",
        "requested": 'a"\n',
        "resumed": "2-0",
    }


def test_a_position_without_an_event_is_a_block_with_data() -> None:
    stream = sse.retry(1500) + sse.at(b"1-0") + sse.HEARTBEAT + sse.at(b"2-0")
    first = b"retry: 1500\nid: 1-0\nevent: stream.at\ndata: {}\n\n"
    assert stream == first + b":\nid: 2-0\nevent: stream.at\ndata: {}\n\n"
    assert sse.at(b"") == b"event: stream.at\ndata: {}\n\n"


def test_clients_that_show_blocks_without_data_are_sent_none() -> None:
    """httpx-sse shows a block that has only an id or a `retry`, against the standard."""
    frame = sse.encode(Event(EventId(2, 0), "t", "", b"x"))
    blocks = sse.at(b"1-0"), sse.HEARTBEAT, sse.HEARTBEAT, frame.wire, sse.HEARTBEAT, sse.at(b"")
    for first in (b"", sse.HEARTBEAT):
        stream = sse.retry(1500) + first + b"".join(blocks)
        seen = [("1-0", "stream.at", "{}"), ("2-0", "t", "x"), ("2-0", "stream.at", "{}")]
        assert parse_with_httpx(stream) == seen


def test_a_reset_names_the_channel_and_the_shard() -> None:
    block = sse.reset("orders.3", "trimmed", "1-0", "2-0", b"orders.3=2-0")
    assert b'{"channel":"orders","shard":3,"reason":"trimmed"' in block


@pytest.mark.parametrize(
    "data", [b"", b"one", b"one\ntwo", b"\n", b"data: x\n\nid: 5\n", " é ".encode()]
)
def test_a_frame_shows_its_data(data: bytes) -> None:
    assert sse.encode(Event(EventId(1, 0), "t", "k", data)).data == data
    assert sse.encode(Event(EventId(1, 0), "t", "k", b"a\r\nb\rc")).data == b"a\nb\nc"
    assert sse.skipped(EventId(1, 0)).data == b""


def test_only_the_line_with_the_type_is_left_out() -> None:
    bare = sse.encode(Event(AT, "t", "k", b"a\nevent: x")).without_type()
    assert bare.wire == b"id: 1710000000000-3\ndata: a\ndata: event: x\n\n"
    assert bare[:3] == (AT, "t", "k")
    assert bare.data == b"a\nevent: x"


def test_a_frame_without_a_type_or_without_bytes_stays_as_it_is() -> None:
    for same in (sse.encode(Event(AT, "message", "", b"d")), sse.skipped(AT)):
        assert same.without_type() is same
