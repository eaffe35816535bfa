"""Frames the body of an HTTP/1.1 response. Pure. The core knows framings only as functions."""

from __future__ import annotations

from functools import lru_cache

SHARED_BYTES = 16 * 1024
"""The least bytes of a page that several clients may be sent, one after the other."""
_KEPT_BYTES = 256 * 1024
_KEPT = 16  # of at most _KEPT_BYTES each


def chunked(data: bytes) -> bytes:
    """Return the bytes as one chunk of HTTP/1.1's chunked coding (RFC 9112, section 7.1).

    The newest pages are kept. Clients that don't read hold what they were sent, and share it if
    they were sent the same.
    """
    return _kept(data) if SHARED_BYTES <= len(data) <= _KEPT_BYTES else _chunked(data)


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_kept = lru_cache(maxsize=_KEPT)(_chunked)
