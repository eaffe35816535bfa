"""Asks the policy about a request. Nothing here is called while the policy is `public`."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Iterable
from typing import Any

from starlette.responses import Response

from broadcaster.core.access import Action, Caller, Decision, Denied, Grant, Policy
from broadcaster.core.wanted import Wanted
from broadcaster.web import head
from broadcaster.web.problem import problem

logger = logging.getLogger(__name__)

_TIMEOUT_S = 10.0


class PolicyFailedError(Exception):
    """The policy has raised an error, has returned no decision, or takes too long."""


def caller_of(scope: Any) -> Caller:
    """The caller of a request, made from its head."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name in headers:
            value = headers[name] + ("; " if name == "cookie" else ", ") + value
        headers[name] = value
    query = scope["query_string"].decode("latin-1")
    return Caller(headers, query, head.client_address(scope))


async def decide(
    policy: Policy, caller: Caller, action: Action, channel: str, keys: frozenset[str]
) -> Decision:
    """Let the policy decide about one channel. Only an `async def` is awaited.

    Raises:
        PolicyFailedError: it can't. The error is in the log.
    """
    try:
        decision = policy(caller, action, channel, keys)
        if inspect.isawaitable(decision):
            async with asyncio.timeout(_TIMEOUT_S):
                decision = await decision
        if not isinstance(decision, Grant | Denied):
            raise TypeError(f"a policy returns Grant or Denied, not {decision!r}")
    except Exception as error:
        logger.exception("the policy failed at %s of channel %s", action, channel)
        raise PolicyFailedError from error
    return decision


async def refusal_of_stream(policy: Policy, scope: Any, wanted: Wanted) -> Response | None:
    """Ask the policy about each channel of an event stream.

    Returns:
        The answer to the request if it is refused; None if everything is granted.
    """
    caller, keys = caller_of(scope), wanted.subscription.keys
    on_demand = wanted.on_demand is not None and wanted.run is None
    action = Action.REQUEST if on_demand else Action.SUBSCRIBE
    try:
        for channel in dict.fromkeys(channel.name for channel in wanted.channels):
            decision = await decide(policy, caller, action, channel, keys)
            if isinstance(decision, Denied):
                return refused(decision)
    except PolicyFailedError:
        return failed()
    return None


async def described(policy: Policy, scope: Any, channels: Iterable[str]) -> dict[str, Decision]:
    """What the policy says to describing each of some channels.

    Raises:
        PolicyFailedError: it can't decide about one of them.
    """
    caller, none = caller_of(scope), frozenset[str]()
    return {name: await decide(policy, caller, Action.DESCRIBE, name, none) for name in channels}


def refused(denied: Denied) -> Response:
    """A refusal: 401 or 403.

    "The server generating a 401 response MUST send a WWW-Authenticate header field."
    https://www.rfc-editor.org/rfc/rfc9110#section-15.5.2
    """
    headers = {"www-authenticate": "Bearer"} if denied.status == 401 else None
    return problem(denied.status, denied.detail, headers)


def failed() -> Response:
    """The answer where the policy could not decide. It says nothing about the error."""
    return problem(500, "the hub's policy failed; the log says how")
