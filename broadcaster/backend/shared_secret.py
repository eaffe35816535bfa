"""A secret that all nodes share, made once in Redis. Part of `backend`."""

from __future__ import annotations

import secrets
from typing import Any

from broadcaster.backend.driver.connect import connect
from broadcaster.backend.driver.errors import TROUBLE, translated
from broadcaster.errors import BackendUnavailableError

_BYTES = 32


async def shared_secret(url: str, redis_key: str) -> bytes:
    """Return the secret at a key. The first node that asks makes it.

    Args:
        url: of Redis. The connection is closed again: a node asks once in some minutes.
        redis_key: of the secret.

    Raises:
        BackendUnavailableError: Redis is away, or has lost the secret in this moment.
        ConfigurationError: the key holds a value of another type.
    """
    client: Any = connect(url, client_name="broadcaster")
    try:
        await client.set(redis_key, secrets.token_hex(_BYTES), nx=True)
        found: bytes | None = await client.get(redis_key)
    except TROUBLE as error:
        raise translated(error, f"read the secret {redis_key}") from error
    finally:
        await client.aclose()
    if found is None:
        raise BackendUnavailableError(f"the secret {redis_key} is gone")
    return found
