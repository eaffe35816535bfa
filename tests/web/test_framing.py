"""Chunks are those of HTTP, and a page is framed once for all clients."""

from broadcaster.web.framing import SHARED_BYTES, chunked


def test_chunks_are_those_of_http() -> None:
    for size in (1, 300, SHARED_BYTES, 1 << 20):
        assert chunked(b"x" * size) == b"%x\r\n" % size + b"x" * size + b"\r\n"


def test_clients_share_the_bytes_of_a_page() -> None:
    first, second = (chunked(bytes(SHARED_BYTES)) for _ in range(2))
    assert first is second


def test_few_pages_are_kept() -> None:
    first = chunked(b"a" * SHARED_BYTES)
    for number in range(100):
        chunked(b"%d" % number + bytes(SHARED_BYTES))
    assert chunked(b"a" * SHARED_BYTES) is not first
