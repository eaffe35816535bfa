"""Fetches the public keys of an issuer from its JWK Set (RFC 7517)."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence

import httpx

from broadcaster.errors import BackendUnavailableError
from broadcaster.web.tokens.signed import Key, keys_of_jwks

_TIMEOUT_S = 5.0
_MAX_BYTES = 256 * 1024
_GZIP = 16 + zlib.MAX_WBITS


async def fetch(url: str, timeout_s: float = _TIMEOUT_S) -> Sequence[Key]:
    """Return the keys at a url. It follows no redirects, since another place is not trusted.

    Args:
        url: of the JWK Set.
        timeout_s: the most seconds that it takes.

    Raises:
        BackendUnavailableError: there is no answer, or no key in it.
    """
    try:
        async with asyncio.timeout(timeout_s), httpx.AsyncClient() as client:
            keys = keys_of_jwks(await _read(client, url))
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
        reason = str(error) or type(error).__name__
        raise BackendUnavailableError(f"no keys from {url}: {reason}") from error
    if not keys:
        raise BackendUnavailableError(f"no keys from {url}: none of them verifies signatures")
    return keys


async def _read(client: httpx.AsyncClient, url: str) -> bytes:
    """Return the body. Few bytes of gzip can stand for many, so it is decoded here, to a bound."""
    headers = {"accept": "application/json", "accept-encoding": "identity"}
    async with client.stream("GET", url, headers=headers) as response:
        if response.status_code != 200:
            raise ValueError(f"the status is {response.status_code}")
        data = b""
        async for piece in response.aiter_raw():
            data += piece
            _check_size(data)
        return _decoded(data, response.headers.get("content-encoding", "identity"))


def _decoded(data: bytes, encoding: str) -> bytes:
    if encoding == "identity":
        return data
    if encoding != "gzip":
        raise ValueError(f"it has the encoding {encoding[:20]!r}, which was not asked for")
    try:
        plain = zlib.decompressobj(wbits=_GZIP).decompress(data, _MAX_BYTES + 1)
    except zlib.error as error:
        raise ValueError("it is no gzip, though it says so") from error
    _check_size(plain)
    return plain


def _check_size(data: bytes) -> None:
    if len(data) > _MAX_BYTES:
        raise ValueError(f"there are more than {_MAX_BYTES} bytes")
