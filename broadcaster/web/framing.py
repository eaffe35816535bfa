"""How HTTP/1.1 frames a response. Pure: the core knows framings only as functions."""

from __future__ import annotations


def chunked(data: bytes) -> bytes:
    """The same bytes as one chunk of HTTP/1.1's chunked coding (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)
