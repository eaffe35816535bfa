"""Answers as the clients of OpenAI's Responses API ask for them: streamed, polled and cancelled.

Such clients take the end of a stream for the end of the answer. So an answer that is over is sent
again whole, or is 404: an empty stream would look like success.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

from broadcaster.answers.formats import format_of
from broadcaster.backend.runs.records import Records
from broadcaster.core.event import EventId
from broadcaster.core.runs.record import Record
from broadcaster.errors import BroadcasterError
from broadcaster.web.problem import SafeResponse, as_json, problem
from broadcaster.web.runs.endpoint import parsed, unknown
from broadcaster.web.runs.formatted import CutError, FormattedResponse, Response, not_now

_FORMAT = "openai"


class AnswerReader(NamedTuple):
    """The parts that read the answers of an application.

    Attributes:
        node: its hub has the events.
        stream: the name of the stream of the answers.
        records: of the answers.
        follow: yields the type and the data of each event of a run, from a position on.
        response: makes the response with them, live.
    """

    node: Any
    stream: str
    records: Records
    follow: Callable[..., AsyncIterator[tuple[str, str]]]
    response: Callable[[Any, EventId, EventId, int], FormattedResponse]


async def retrieved(reader: AnswerReader, id_: str, stream: bool, after: int | None) -> Response:
    """Return an answer, as `Answers.retrieve` says."""
    run = parsed(id_)
    if not await reader.node.loaded([reader.stream]):
        return not_now("the hub is still loading")
    head = reader.node.hub.windows[reader.stream].head
    try:
        record = await reader.records.find(run) if run else None
        if run is None or record is None:
            return unknown()
        beginning = record.first or record.last
        at = beginning.before() if beginning else head
        since = {"restarts": record.restarts, "told": record.told}
        made: Any = format_of(_FORMAT, after=-1 if after is None else after, **since)
        if after is not None and after < made.first:
            return problem(409, "the answer has begun anew since then: read it from its beginning")
        if stream and not record.state.over:
            return reader.response(made, run, at, record.began_ms)
        return await _past(reader, run, record, at, made, stream)
    except (CutError, BroadcasterError) as error:
        return not_now(str(error))


async def cancelled(reader: AnswerReader, id_: str) -> Response:
    """Stop an answer, and return it, as `Answers.cancel` says."""
    run = parsed(id_)
    try:
        if run is None or await reader.records.stop(run) == "absent":
            return unknown()
    except BroadcasterError as error:
        return not_now(str(error))
    return await retrieved(reader, id_, False, None)


async def _past(
    reader: AnswerReader, run: EventId, record: Record, at: EventId, made: Any, stream: bool
) -> Response:
    """Return what was published so far. If the answer is over, that is all of it.

    Raises:
        CutError, BroadcasterError: it can't be read now.
    """
    body = [made.begin(str(run), record.began_ms)]
    try:
        async for type_, data in reader.follow(run, at, until_live=not record.state.over):
            body.append(made.event(type_, data))
    except CutError:
        if record.state.over:  # the log has lost its beginning
            return unknown()
        raise
    if record.state.over and not made.over:
        return unknown()
    if not stream:
        return as_json(made.response())
    headers = {name.decode(): value.decode() for name, value in made.headers}
    return SafeResponse(b"".join(body), headers={**headers, "cache-control": "no-store"})
