"""`broadcaster revoke`: revokes tokens on all nodes."""

from __future__ import annotations

from broadcaster.backend.driver.connect import connect
from broadcaster.backend.revocations import RevocationStream
from broadcaster.errors import ConfigurationError
from broadcaster.settings import Settings


async def revoke(settings: Settings, name: str) -> str:
    """Revoke the tokens of a subject, or one token by its id.

    Args:
        settings: of the nodes.
        name: the subject, or the id of the token.

    Returns:
        A line for the operator.

    Raises:
        InvalidRequestError: the name is empty or too long.
        ConfigurationError: the settings can't be used.
        BackendUnavailableError: Redis is away. It may have the revocation; call again.
    """
    if not settings.revocations_key:
        raise ConfigurationError("revocations_key is empty, so nodes hear of no revocation")
    client = connect(settings.require_redis_url(), client_name="broadcaster")
    try:
        stream = RevocationStream(client, settings.revocations_key)
        done = await stream.revoke(name, settings.revocation_s)
    finally:
        await client.aclose()
    if done.replicas is None:
        return f"revoked at {done.id}; Redis does not say how many replicas have it"
    return f"revoked at {done.id}; replicas that have it: {done.replicas}"
