"""Follows a run by its id: `GET {path}?run=…`, from any device, with or without a cursor."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from broadcaster.core.access.grants import Holder
from broadcaster.core.event import EventId
from broadcaster.core.log import Entry
from broadcaster.core.runs.record import Record
from broadcaster.core.wanted import Wanted
from broadcaster.core.wire import Shed
from broadcaster.errors import BroadcasterError
from broadcaster.web.access.asking import UndecidedError
from broadcaster.web.problem import AnsweredError, RefusalError, SafeResponse
from broadcaster.web.runs.endpoint import may_follow, unknown
from broadcaster.web.serving import ServedNode

_T = TypeVar("_T")


async def answered(question: Awaitable[_T]) -> _T | Response | Shed:
    """Return the answer to a question about a run, or the response if there is no answer.

    Args:
        question: may raise a `RefusalError`, or what the policy or Redis raises.
    """
    try:
        return await question
    except UndecidedError:
        return Shed.ACCESS
    except AnsweredError as error:
        return error.response
    except BroadcasterError:
        return Shed.REDIS


async def followed(
    node: ServedNode,
    scope: Any,
    wanted: Wanted,
    run: EventId,
    *,
    asks: bool,
    active: bool = False,
) -> Wanted | Response | Shed:
    """Return what a client that follows a run is to be sent, or the response instead of it.

    A follower that comes back with a cursor costs no question to Redis while the window has events
    of its run, unless there is a policy.

    Args:
        node: that was asked.
        scope: the request's ASGI scope.
        wanted: by the request, with the run as the key.
        run: its id.
        asks: True if a policy decides.
        active: True refuses a run that is over, with 204. The beginning of the run is its state, if
            that has all of the run, so that no event is read from Redis.
    """
    (channel,) = wanted.channels
    (stream,) = channel.streams
    if not await node.loaded([stream]):
        return Shed.LOADING
    window, positions, states = node.hub.windows[stream], wanted.positions, wanted.states
    if wanted.run != run:  # the cursor is of another run
        positions, states = {}, frozenset()
    if (positions or states) and not asks and window.has(str(run)):
        return wanted
    head = window.head  # before the question, so that no event lies between it and the answer
    found = await answered(_looked_up(node, scope, wanted, run, active))
    if isinstance(found, Response | Shed):
        return found
    record, holder = found
    subscription = wanted.subscription
    if record.event_key != str(run):  # a GET has begun it
        subscription = replace(subscription, filter=subscription.filter.with_key(record.key))
    if active and node.hub.states.has_texts(stream):
        states = frozenset((stream,))
    if not states:
        positions = positions or {stream: record.first.before() if record.first else head}
    return Wanted(wanted.channels, subscription, positions, run, holder=holder, states=states)


async def _looked_up(
    node: ServedNode, scope: Any, wanted: Wanted, run: EventId, active: bool
) -> tuple[Record, Holder | None]:
    """Return the record of a run, and the holder of the right to it.

    Raises:
        RefusalError: there is no such run, or it may not be followed; or it is over, and nothing of
            it is retained.
        PolicyFailedError, UndecidedError: the policy can't decide.
        BroadcasterError: Redis is away, or refuses.
    """
    (channel,) = wanted.channels
    (stream,) = channel.streams
    record = await node.runs.record(channel, run)
    if record is None:
        raise RefusalError(unknown())
    holder = await may_follow(node, Request(scope), channel, record)
    if active and record.state.over:
        raise RefusalError(SafeResponse(status_code=204))
    missing = record.last if not node.hub.windows[stream].has(record.event_key) else None
    if missing and await node.ask(stream, Entry(missing)) is None:
        raise RefusalError(SafeResponse(status_code=204))
    return record, holder
