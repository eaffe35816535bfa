"""The load generator's own parsers: whatever the pieces, and whatever the ends of lines."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.history import Block, Kind, digest_of
from tests.chaos.sse import Splitter, Unchunker, read

STREAM = (
    b"\xef\xbb\xbfretry: 1870\nid: 5-0\nevent: stream.at\ndata: {}\n\n"
    b":\n\n"
    b":\n: b\nid: 1-0\n\n"
    b":\n:\nid: 6-0\nevent: t1\ndata: one\ndata:two\ndata\n\n"
    b"id: 7-0\nevent: stream.reset\ndata: {}\n\n"
    b'id: 7-0\nevent: stream.live\ndata: {"replayed":0}\n\n'
    b'event: stream.superseded\ndata: {"events":2}\n\n'
    b"data: \xe2\x82\xac\n\n"
    b"id: incomplete\n"
)
BLOCKS = [
    Block(Kind.CHECKPOINT, "5-0", retry_ms=1870),
    Block(Kind.NOTHING),
    Block(Kind.NOTHING),
    Block(Kind.EVENT, "6-0", "t1", digest_of(b"one\ntwo\n")),
    Block(Kind.RESET, "7-0", "stream.reset", data="{}"),
    Block(Kind.LIVE, "7-0", "stream.live", data='{"replayed":0}'),
    Block(Kind.SUPERSEDED, None, "stream.superseded", data='{"events":2}'),
    Block(Kind.VALUE, None, "message", data="€"),
]


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


cuts = st.lists(st.integers(0, 10_000), max_size=40)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@given(cuts=cuts)
def test_blocks_are_the_same_however_they_arrive(end: bytes, cuts: list[int]) -> None:
    splitter = Splitter()
    data = STREAM.replace(b"\n", end)
    found = [read(raw) for piece in pieces(data, cuts) for raw in splitter.feed(piece)]
    assert found == BLOCKS


def test_blocks_are_the_same_byte_by_byte() -> None:
    for end in (b"\n", b"\r\n", b"\r"):
        splitter = Splitter()
        data = STREAM.replace(b"\n", end)
        found = [read(raw) for byte in data for raw in splitter.feed(bytes([byte]))]
        assert found == BLOCKS


@given(bodies=st.lists(st.binary(min_size=1, max_size=300), max_size=8), cuts=cuts)
def test_chunks_are_taken_apart_however_they_arrive(bodies: list[bytes], cuts: list[int]) -> None:
    framed = b"".join(b"%x\r\n%b\r\n" % (len(body), body) for body in bodies) + b"0\r\n\r\n"
    unchunker = Unchunker()
    found = b"".join(unchunker.feed(piece) for piece in pieces(framed, cuts))
    assert found == b"".join(bodies)
    assert unchunker.ended


def test_bytes_that_are_not_a_chunk_are_refused() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        Unchunker().feed(b"retry: 5\r\n\r\n")
