"""Fetches the public keys of an issuer from its JWK Set (RFC 7517)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import httpx

from broadcaster.errors import BackendUnavailableError
from broadcaster.web.tokens.signed import Key, keys_of_jwks

_TIMEOUT_S = 5.0
_MAX_BYTES = 256 * 1024


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
    async with client.stream("GET", url, headers={"accept": "application/json"}) as response:
        if response.status_code != 200:
            raise ValueError(f"the status is {response.status_code}")
        data = b""
        async for piece in response.aiter_bytes():
            data += piece
            if len(data) > _MAX_BYTES:
                raise ValueError(f"there are more than {_MAX_BYTES} bytes")
    return data
