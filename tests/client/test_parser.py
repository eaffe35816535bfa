"""The client's parser reads what httpx-sse reads, wherever the bytes are cut."""

from __future__ import annotations

import httpx
from httpx_sse import EventSource as OtherSource
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.client.parser import Parser, StreamEvent


def parse(pieces: list[bytes]) -> tuple[list[StreamEvent], Parser]:
    parser = Parser()
    return [event for piece in pieces for event in parser.feed(piece)], parser


def cut(wire: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({min(place, len(wire)) for place in places} | {len(wire)})
    return [wire[start:end] for start, end in zip([0, *ends], ends, strict=False)]


values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), max_size=9)


blocks = st.lists(
    st.tuples(st.sampled_from(["id", "event", "data", "data", "", "other"]), values),
    min_size=1,
    max_size=5,
)


line_ends = st.sampled_from(["\n", "\r\n", "\r"])


@given(st.lists(blocks, max_size=5), line_ends, st.lists(st.integers(0, 200)))
def test_events_are_those_of_another_parser_wherever_the_bytes_are_cut(
    stream: list[list[tuple[str, str]]], end: str, places: list[int]
) -> None:
    # An `event` comes with data here: the other parser shows events without data as well.
    texts = ["".join(f"{name}: {value}{end}" for name, value in block) for block in stream]
    wire = "".join(f"{text}data: x{end}{end}" for text in texts).encode()
    response = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=wire)
    others = [(e.id, e.event, e.data) for e in OtherSource(response).iter_sse() if e.data]
    events, _ = parse(cut(wire, places))
    assert [(e.id, e.type, e.data) for e in events] == others


def test_a_block_without_data_moves_the_id_and_is_no_event() -> None:
    events, parser = parse([b"retry: 70\nid: 5-0\n\n:\n\ndata:\n\nretry: soon\n\n"])
    assert events == [StreamEvent("5-0", "message", "")]
    assert (parser.last_event_id, parser.retry_ms) == ("5-0", 70)


def test_a_broken_block_does_not_count() -> None:
    events, parser = parse([b"id: 5-0\ndata: a\n\nid: 6-0\ndata: b\n"])
    assert [event.data for event in events] == ["a"]
    assert parser.last_event_id == "5-0"


def test_a_byte_order_mark_and_a_null_in_an_id_are_passed_over() -> None:
    events, _ = parse([b"\xef\xbb", b"\xbfid: 1-0\ndata: \xef\xbb\xbfa\n\n", b"id: 2\0\ndata\n\n"])
    assert events == [StreamEvent("1-0", "message", "\ufeffa"), StreamEvent("1-0", "message", "")]


def test_data_is_read_as_json() -> None:
    assert StreamEvent("1-0", "message", '{"n":1}').json() == {"n": 1}
