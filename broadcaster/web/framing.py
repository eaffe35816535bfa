"""Frames the body of an HTTP/1.1 response. Pure. The core knows framings only as functions."""

from __future__ import annotations


def chunked(data: bytes) -> bytes:
    """Return the bytes as one chunk of HTTP/1.1's chunked coding (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)
