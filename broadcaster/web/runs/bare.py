"""`profile=bare`: the events of one run and nothing else, for clients that don't know the hub.

Such a client knows neither cursors nor `stream.*`. It takes a clean end of the response for the end
of the run. So each GET begins with the first event of the run, and ends cleanly only after the last
one. If that is not possible, the connection is cut.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broadcaster.core import sse
from broadcaster.core.access.stream_counts import Owners
from broadcaster.core.channel import Channel
from broadcaster.core.event import ZERO, Event, EventId
from broadcaster.core.fanout.turns import network
from broadcaster.core.runs.record import Record, RunState
from broadcaster.core.wanted import Wanted
from broadcaster.core.wire import Shed
from broadcaster.web.problem import EVENT_STREAM, SAFE, RefusalError, SafeResponse
from broadcaster.web.runs.endpoint import may_follow
from broadcaster.web.runs.following import answered, followed
from broadcaster.web.runs.formatted import FormattedResponse
from broadcaster.web.serving import ServedNode


class BareEvents:
    """The events of one response, without ids."""

    headers = tuple(set(EVENT_STREAM) - set(SAFE))

    def begin(self, _: str, __: int) -> bytes:
        """Return a comment, so that the head of the response leaves."""
        return b":\n\n"

    def event(self, type_: str, data: str) -> bytes:
        """Return the bytes of an event; nothing for one without a type."""
        if not type_:
            return b""
        return sse.encode(Event(ZERO, type_, "", data.encode())).without_id()


class BareResponse(FormattedResponse):
    """The events of one run. It takes a place of its owners while it is sent."""

    def __init__(self, node: ServedNode, wanted: Wanted, owners: Owners) -> None:
        """Store the arguments. Nothing is read before it is sent."""
        (stream,) = wanted.subscription.streams
        events = node.run_events(wanted)
        super().__init__(BareEvents(), str(wanted.run), events, node=node, stream=stream)
        self._limits = node.limits
        self._owners = owners

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, as a `FormattedResponse`. There is no `await` before its place is taken."""
        self._limits.take(self._owners)
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._limits.free(self._owners)


async def bare(
    node: ServedNode, scope: Any, wanted: Wanted, run: EventId | None, *, asks: bool
) -> Response | Shed:
    """Return the response with a run that is active, 204 if there is none, or a refusal.

    Args:
        node: that was asked.
        scope: the request's ASGI scope.
        wanted: by the request, of a channel that is made on demand. Its key is the run, if the
            request names one.
        run: that it names. Without one, it follows the newest run about its key.
        asks: True if a policy decides.
    """
    (channel,), (key,) = wanted.channels, wanted.subscription.keys
    (stream,) = channel.streams
    wanted = replace(wanted, positions={}, run=None, unreadable=None, start=None)
    node.start()
    if not await node.loaded([stream]):
        return Shed.LOADING
    if run is None:
        newest = await answered(_newest(node, scope, channel, key))
        if not isinstance(newest, EventId):
            return newest
        run = newest
    filter_ = wanted.subscription.filter.with_key(str(run))
    wanted = replace(wanted, subscription=replace(wanted.subscription, filter=filter_))
    found = await followed(node, scope, wanted, run, asks=asks, active=True)
    if not isinstance(found, Wanted):
        return found
    owners = Owners(network(scope.get("client")), found.holder.subject if found.holder else "")
    return node.why_shed((stream,), owners) or BareResponse(node, found, owners)


async def _newest(node: ServedNode, scope: Any, channel: Channel, key: str) -> EventId:
    """Return the newest run about a key.

    Raises:
        RefusalError: 204 if there is none; 401 or 403 if the caller may not know that.
        PolicyFailedError, UndecidedError: the policy can't decide.
        BroadcasterError: Redis is away, or refuses.
    """
    if run := await node.runs.newest(channel, key):
        return run
    # A record without an owner, so that only a grant is good for it.
    record = Record(RunState.COMPLETE, "", key, "", "", 0, None, None)
    await may_follow(node, Request(scope), channel, record)
    raise RefusalError(SafeResponse(status_code=204))
