"""Asks the policy which channels and keys a request may have, and which it may see."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from starlette.responses import Response

from broadcaster.core.access.grants import Holder, covered, holder_of, narrowed
from broadcaster.core.access.policy import Action, Caller, Denied, Grant, Policy
from broadcaster.core.access.rights import ALL, RefusedTokenError, rights_of_ticket
from broadcaster.core.subscription import Granted
from broadcaster.core.wanted import Wanted
from broadcaster.core.wire import Shed
from broadcaster.web.access.asking import PolicyFailedError, UndecidedError, settled
from broadcaster.web.access.callers import identified
from broadcaster.web.problem import refused
from broadcaster.web.serving import GuardedNode

logger = logging.getLogger(__name__)


async def permitted(
    node: GuardedNode, scope: Any, wanted: Wanted, read: Callable[[Granted], Wanted]
) -> Wanted | Response | Shed:
    """Ask the policy about each channel of an event stream.

    Args:
        node: has the policy.
        scope: the request's ASGI scope.
        wanted: by the request.
        read: reads the request again, with the keys that are granted.

    Returns:
        What the client gets, or the answer if it is refused, or why it should come back later.

    Raises:
        InvalidRequestError: a key is missing, and no grant has it.
    """
    asked = wanted.subscription.keys
    on_demand = wanted.subscription.on_demand is not None and wanted.run is None
    action = Action.REQUEST if on_demand else Action.SUBSCRIBE
    try:
        names = dict.fromkeys(channel.name for channel in wanted.channels)
        caller = await identified(node, scope, names)
        if isinstance(caller, Denied):
            return refused(caller)
        keys, grants = dict[str, frozenset[str] | None](), list[Grant]()
        for channel in names:
            found = await decide(node.policy, caller, action, channel, asked)
            if isinstance(found, Denied):
                return refused(found)
            grant, keys[channel] = found
            grants.append(grant)
        holder = _holder(grants, caller)
    except PolicyFailedError as error:
        return error.response
    except UndecidedError:
        return Shed.ACCESS
    if not asked:
        wanted = read(tuple((name, found) for name, found in keys.items() if found is not None))
    return replace(wanted, holder=holder)


async def decide(
    policy: Policy, caller: Caller, action: Action, channel: str, asked: frozenset[str]
) -> tuple[Grant, frozenset[str] | None] | Denied:
    """Let the policy decide about one channel. Only an `async def` is awaited.

    A ticket is never good for more than what it was issued for, whatever a policy makes of its
    subject. Where it is for other channels, the policy is asked as if there were none.

    Returns:
        Its grant, and the keys that it gives the caller, as `covered` returns them. `Denied` also
        if the grant has ended, or does not cover what the caller asks for.

    Raises:
        PolicyFailedError: it can't. The error is in the log.
        UndecidedError: it can't decide for now.
    """
    try:
        of_ticket = rights_of_ticket(caller.claims)
    except RefusedTokenError as error:
        return Denied(str(error), 401)
    left = of_ticket.keys(channel, action) if of_ticket else ALL
    if left is None:
        caller = replace(caller, claims={})
    ask = partial(policy, caller, action, channel, asked)
    failure = f"the policy failed at {action} of channel {channel}"
    grant = await settled(ask, (Grant, Denied), failure)
    if isinstance(grant, Denied):
        return grant if left is not None else Denied(f"the ticket is not for {channel!r}")
    if left is not None:
        grant = narrowed(grant, left)
    keys = covered(grant, channel, asked, time.time())
    return keys if isinstance(keys, Denied) else (grant, keys)


def _holder(grants: Iterable[Grant], caller: Caller) -> Holder | None:
    try:
        return holder_of(grants, caller.claims, time.time())
    except ValueError as error:
        logger.error("the policy failed: %s", error)
        raise PolicyFailedError from error


async def described(
    node: GuardedNode, scope: Any, channels: Collection[str]
) -> dict[str, Denied | None] | Denied:
    """Ask the policy which of some channels the sender of a request may see described.

    Returns:
        Its refusals by channel, None for a channel that the caller may see. `Denied` if the
        caller's token is not valid, unless all of the channels are public.

    Raises:
        PolicyFailedError: it can't decide about one of them.
        UndecidedError: it can't decide for now.
    """
    caller, none = await identified(node, scope, channels), frozenset[str]()
    if isinstance(caller, Denied):
        return caller
    refusals = dict[str, Denied | None]()
    for name in channels:
        found = await decide(node.policy, caller, Action.DESCRIBE, name, none)
        refusals[name] = found if isinstance(found, Denied) else None
    return refusals
