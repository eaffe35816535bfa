"""Finds the channels that a caller may see: those that are listed, and that the policy allows."""

from __future__ import annotations

from typing import Any

from broadcaster.core.access.policy import Denied, public
from broadcaster.web.access.decisions import described
from broadcaster.web.serving import ServedNode


async def visible(node: ServedNode, scope: Any) -> list[str] | Denied:
    """Return the names of the channels that the sender of a request may see.

    Args:
        node: has the channels and the policy.
        scope: the request's ASGI scope.

    Returns:
        The names, in the order of the configuration. `Denied` if the sender's token is not valid,
        unless all channels are public.

    Raises:
        PolicyFailedError: the policy can't decide about one of them.
        UndecidedError: it can't decide for now.
    """
    names = [name for name, channel in node.settings.channels.items() if channel.listed]
    if node.policy is public:
        return names
    refusals = await described(node, scope, names)
    if isinstance(refusals, Denied):
        return refusals
    return [name for name in names if refusals[name] is None]
