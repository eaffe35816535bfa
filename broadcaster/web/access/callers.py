"""Makes the caller of a request, with the claims of its token if that is valid."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from broadcaster.core.access.by_access import is_public
from broadcaster.core.access.policy import Caller, Denied
from broadcaster.web import head
from broadcaster.web.access.asking import settled
from broadcaster.web.serving import GuardedNode


def caller_of(scope: Any) -> Caller:
    """Return the caller of a request, made from its head."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name in headers:
            value = headers[name] + ("; " if name == "cookie" else ", ") + value
        headers[name] = value
    query = scope["query_string"].decode("latin-1")
    return Caller(headers, query, head.client_address(scope))


async def identified(
    node: GuardedNode, scope: Any, channels: Collection[str] | None = None
) -> Caller | Denied:
    """Return the caller of a request with the claims of its token; `Denied` if that is not valid.

    Args:
        node: has the verifier.
        scope: the request's ASGI scope.
        channels: that it wants to read. A token that has expired is no reason to refuse what is
            public, so none is read if all of them are. None reads it in any case.

    Raises:
        PolicyFailedError: the verifier has failed.
        UndecidedError: the token can't be verified for now.
    """
    caller = caller_of(scope)
    is_open = channels is not None and all(is_public(node.policy, name) for name in channels)
    return caller if is_open else await verified(node, caller)


async def verified(node: GuardedNode, caller: Caller) -> Caller | Denied:
    """Return a caller with the claims of its token; `Denied` if that is not valid.

    Raises:
        PolicyFailedError, UndecidedError: as for `identified`.
    """
    if node.verifier is None:
        return caller
    said = await settled(partial(node.verifier, caller), (Mapping, Denied), "the verifier failed")
    return said if isinstance(said, Denied) else replace(caller, claims=said)
