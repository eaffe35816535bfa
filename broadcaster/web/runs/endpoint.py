"""Runs over HTTP: a POST begins one, a GET says its state, and another POST stops it.

[Design note 009](../../docs/design/009-answers.md) says what a run is.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from broadcaster.core.access.grants import Holder, holder_of
from broadcaster.core.access.policy import Action, Caller, Denied, public
from broadcaster.core.access.stream_counts import Owners
from broadcaster.core.channel import KEY_IN_PATH, MAX_KEY_BYTES, Channel
from broadcaster.core.event import EventId
from broadcaster.core.fanout.turns import network
from broadcaster.core.runs.record import Record
from broadcaster.errors import BroadcasterError, InvalidCursorError
from broadcaster.web.access.asking import PolicyFailedError
from broadcaster.web.access.callers import identified
from broadcaster.web.access.decisions import decide
from broadcaster.web.body import whole
from broadcaster.web.problem import (
    AnsweredError,
    ProblemError,
    RefusalError,
    as_json,
    problem,
    refused,
)
from broadcaster.web.serving import ServedNode

_SOON = {"retry-after": "1"}


async def begin(node: ServedNode, request: Request, channel: Channel, key: str) -> Response:
    """Begin a run, and answer with its id and the path at which it is followed.

    Args:
        node: that was asked.
        request: a POST to the channel's path.
        channel: that is made on demand.
        key: in the path; empty if there is none.
    """
    node.start()
    try:
        return await _begun(node, request, channel, key)
    except AnsweredError as error:
        return error.response
    except BroadcasterError as error:
        return problem(503, str(error), _SOON)
    except ClientDisconnect:
        return Response()  # which no client gets


async def _begun(node: ServedNode, request: Request, channel: Channel, key: str) -> Response:
    caller = await _caller(node, request, channel)
    if node.draining:
        raise ProblemError(503, "this node is shutting down", _SOON | {"connection": "close"})
    subject = caller.claims.get("sub", "") if caller else ""
    if reason := node.limits.crowded(Owners(network(request.scope.get("client")), subject)):
        raise ProblemError(429, reason.text, _SOON)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":  # which a page of another origin can't send unasked
        raise ProblemError(
            415, "the Content-Type is application/json", {"accept": "application/json"}
        )
    body = await whole(request, node.settings.max_run_bytes)
    key = _key(channel, key, request, body)
    if caller:
        holder = await _granted(node, caller, Action.REQUEST, channel, key)
        subject = holder.subject if holder else ""
    run = await node.runs.begin(channel, key, subject, body)
    if run is None:
        raise ProblemError(429, "too many runs wait or are answered", _SOON)
    path = request.scope.get("root_path", "") + url_of(channel, key, run)
    response = as_json({"run": str(run), "url": path}, 201)
    response.headers["location"] = path
    return response


def _key(channel: Channel, key: str, request: Request, body: bytes) -> str:
    """Return what a run is about: the key in the path, in the query, or in the body."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ProblemError(400, f"the body is not JSON: {error}") from error
    named = content.get(channel.key_param) if isinstance(content, Mapping) else None
    found = key or request.query_params.get(channel.key_param) or named
    if not isinstance(found, str) or not found:
        name = channel.key_param
        raise ProblemError(400, f"a run needs a key: ?{name}=…, or the field {name!r} of the body")
    try:
        size = len(found.encode())
    except UnicodeEncodeError as error:
        raise ProblemError(400, "a key is UTF-8") from error
    if size > MAX_KEY_BYTES:
        raise ProblemError(400, f"a key has at most {MAX_KEY_BYTES} bytes in UTF-8")
    return found


def url_of(channel: Channel, key: str, run: EventId) -> str:
    """Return the path at which a run is followed."""
    return f"{channel.path.replace(KEY_IN_PATH, quote(key, safe=''))}?run={run}"


async def state(node: ServedNode, request: Request) -> Response:
    """Answer with the state of a run."""
    return await _answered(node, request, stops=False)


async def stop(node: ServedNode, request: Request) -> Response:
    """Stop a run, and answer with its state."""
    return await _answered(node, request, stops=True)


async def _answered(node: ServedNode, request: Request, *, stops: bool) -> Response:
    node.start()
    run = parsed(request.path_params["run"])
    try:
        found = await node.runs.find(run) if run else None
        if run is None or found is None:
            return unknown()
        channel, record = found
        await may_follow(node, request, channel, record)
        if stops:
            await node.runs.stop(channel, run)
            record = await node.runs.record(channel, run) or record
        waiting = None if record.state.over else await node.runs.waiting(channel, run)
    except BroadcasterError as error:
        return problem(503, str(error), _SOON)
    path = request.scope.get("root_path", "") + url_of(channel, record.key, run)
    shown: dict[str, Any] = {"run": str(run), "channel": channel.name, "key": record.key}
    shown["state"] = record.state
    if record.reason:
        shown["reason"] = record.reason
    if waiting:
        shown |= waiting._asdict()
    return as_json({**shown, "attempt": record.attempt, "url": path})


def unknown() -> Response:
    """Return the answer about a run that has no record."""
    return problem(404, "there is no such run, or it was over for too long")


def parsed(text: str) -> EventId | None:
    """Return the id of a run; None if the text is none."""
    try:
        return EventId.parse(text)
    except InvalidCursorError:
        return None


async def may_follow(
    node: ServedNode, request: Request, channel: Channel, record: Record
) -> Holder | None:
    """Return the holder of the right to a run. Its owner has the right, and others by a grant.

    Raises:
        RefusalError: 401 or 403.
        PolicyFailedError, UndecidedError: the policy can't decide.
    """
    caller = await _caller(node, request, channel)
    if caller is None:
        return None
    try:
        return await _granted(node, caller, Action.SUBSCRIBE, channel, record.key)
    except RefusalError:
        if not record.owner:
            raise
        holder = await _granted(node, caller, Action.REQUEST, channel, record.key)
        if holder and holder.subject == record.owner:
            return holder
        raise


async def _caller(node: ServedNode, request: Request, channel: Channel) -> Caller | None:
    """Return the caller of a request; None if there is no policy to ask."""
    if node.policy is public:
        return None
    found = await identified(node, request.scope, [channel.name])
    if isinstance(found, Denied):
        raise RefusalError(refused(found))
    return found


async def _granted(
    node: ServedNode, caller: Caller, action: Action, channel: Channel, key: str
) -> Holder | None:
    found: Any = await decide(node.policy, caller, action, channel.name, frozenset({key}))
    if isinstance(found, Denied):
        raise RefusalError(refused(found))
    grant, _ = found
    try:
        holder = holder_of([grant], caller.claims, time.time())
    except ValueError as error:
        raise PolicyFailedError from error
    if node.revoking.concerns(holder):
        raise RefusalError(refused(Denied("the token was revoked", 401)))
    return holder
