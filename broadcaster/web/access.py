"""Asks the policy about a request. Nothing here is called while the policy is `public`."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

from starlette.responses import Response

from broadcaster.core.access.by_access import is_public
from broadcaster.core.access.grants import Holder, covered, holder_of, narrowed
from broadcaster.core.access.policy import Action, Caller, Denied, Grant, NotYet, Policy
from broadcaster.core.access.rights import ALL, RefusedTokenError, rights_of_ticket
from broadcaster.core.access.ticket import Ticket
from broadcaster.core.subscription import Granted
from broadcaster.core.wanted import Wanted
from broadcaster.core.wire import Shed
from broadcaster.web import head
from broadcaster.web.problem import AnsweredError, problem
from broadcaster.web.serving import GuardedNode

logger = logging.getLogger(__name__)

_TIMEOUT_S = 10.0
_COMPLAIN_S = 10.0


class PolicyFailedError(AnsweredError):
    """The policy has raised an error, has returned no decision, or takes too long.

    The answer says nothing about the error.
    """

    def __init__(self) -> None:
        """Make the answer."""
        super().__init__(problem(500, "the hub's policy failed; the log says how"))


class UndecidedError(AnsweredError):
    """Something that a decision needs can't be loaded for now."""

    def __init__(self) -> None:
        """Make the answer, for all that is no event stream."""
        super().__init__(problem(503, Shed.ACCESS.text, {"retry-after": "10"}))


class _Complaints:
    """Log lines about trouble that each request meets: a warning now and then, and debug lines."""

    def __init__(self) -> None:
        self._due_s = float("-inf")

    def log(self, text: str, *args: object) -> None:
        """Log a warning if the last one is some seconds old, and else a line for debugging."""
        now_s = time.monotonic()
        due = now_s >= self._due_s
        if due:
            self._due_s = now_s + _COMPLAIN_S
        logger.log(logging.WARNING if due else logging.DEBUG, text, *args)


_complaints = _Complaints()


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
    said = await _settled(partial(node.verifier, caller), (Mapping, Denied), "the verifier failed")
    return said if isinstance(said, Denied) else replace(caller, claims=said)


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
    grant = await _settled(ask, (Grant, Denied), failure)
    if isinstance(grant, Denied):
        return grant if left is not None else Denied(f"the ticket is not for {channel!r}")
    if left is not None:
        grant = narrowed(grant, left)
    keys = covered(grant, channel, asked, time.time())
    return keys if isinstance(keys, Denied) else (grant, keys)


async def _settled(ask: Callable[[], Any], kinds: tuple[type, ...], failure: str) -> Any:
    """Return an answer of one of these kinds. What it needs is loaded, at most once."""
    for again in (True, False):
        try:
            found = ask()
            if isinstance(found, kinds):
                return found
            if inspect.isawaitable(found):
                async with asyncio.timeout(_TIMEOUT_S):
                    found = await found
            if not isinstance(found, (*kinds, NotYet)):
                expected = " or ".join(kind.__name__ for kind in kinds)
                raise TypeError(f"it returns {expected}, not {found!r}")
        except Exception as error:
            logger.exception(failure)
            raise PolicyFailedError from error
        if not isinstance(found, NotYet):
            return found
        if again:
            await _load(found, failure)
    raise UndecidedError


async def _load(found: NotYet, failure: str) -> None:
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await found.load()
    except Exception as error:
        _complaints.log("%s for now: %s", failure, str(error) or type(error).__name__)
        raise UndecidedError from error


def _holder(grants: Iterable[Grant], caller: Caller) -> Holder | None:
    try:
        return holder_of(grants, caller.claims, time.time())
    except ValueError as error:
        logger.error("the policy failed: %s", error)
        raise PolicyFailedError from error


async def described(
    node: GuardedNode, scope: Any, channels: Collection[str]
) -> dict[str, Denied | None] | Denied:
    """What the policy says to describing each of some channels.

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


@runtime_checkable
class TicketIssuer(Protocol):
    """A verifier that issues tickets, too."""

    def issue(
        self, caller: Caller, channels: Collection[str], keys: Collection[str]
    ) -> Ticket | Denied | NotYet:
        """Return a ticket for the token in a caller's header `Authorization`.

        Args:
            caller: that asks.
            channels: the only channels that it is for; none means all that the token allows.
            keys: the only keys of these; none means all that the token allows.
        """


async def ticket(
    issuer: TicketIssuer, scope: Any, channels: Collection[str], keys: Collection[str]
) -> Ticket | Denied:
    """Return a ticket for the sender of a request; see `TicketIssuer`.

    Raises:
        PolicyFailedError: the issuer has failed.
        UndecidedError: it can't issue tickets for now.
    """
    ask = partial(issuer.issue, caller_of(scope), channels, keys)
    said = await _settled(ask, (Ticket, Denied), "no ticket was made")
    assert isinstance(said, Ticket | Denied)
    return said


def refused(denied: Denied) -> Response:
    """A refusal: 401 or 403.

    "The server generating a 401 response MUST send a WWW-Authenticate header field."
    https://www.rfc-editor.org/rfc/rfc9110#section-15.5.2
    """
    headers = {"www-authenticate": "Bearer"} if denied.status == 401 else None
    return problem(denied.status, denied.detail, headers)
