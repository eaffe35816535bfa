from broadcaster.web.framing import chunked


def test_chunks_are_those_of_http() -> None:
    assert chunked(b"x" * 300) == b"12c\r\n" + b"x" * 300 + b"\r\n"
