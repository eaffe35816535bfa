"""Publishes the lines of a body as they come, however many there are, and answers with their ids.

What is in memory is bounded: a line, the lines that have arrived, and the begin of the answer. The
body is read as fast as it is published, so its sender is slowed. The answer begins when the body
has ended, or when it has more than 1 MiB. So the sender of a very long body has to read meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broadcaster.core.json.incoming import Incoming, Publication, parse, publications
from broadcaster.errors import InvalidEventError
from broadcaster.web.problem import SAFE, AnsweredError, ProblemError, RefusalError
from broadcaster.web.publishing.checking import Checker, unfit
from broadcaster.web.publishing.permit import Permit
from broadcaster.web.publishing.writing import SOON, write
from broadcaster.web.serving import ServedNode

MEDIA_TYPE = "application/x-ndjson"

_ANSWER_BYTES = 1 << 20
_BATCH = 100
"""Lines that are written at once. More of them would keep other clients waiting for longer."""
_QUIET_S = 300.0
_LOOK_S = 0.5


class _Numbered(NamedTuple):
    number: int
    text: bytes


@dataclass(frozen=True)
class Lines:
    """A body of lines that is published.

    Attributes:
        node: that it comes to.
        channel: that is published to.
        permit: what its sender may publish.
        key: the idempotency key of the request; empty if it has none.
    """

    node: ServedNode
    channel: str
    permit: Permit
    key: str

    async def events(
        self, lines: Sequence[_Numbered]
    ) -> tuple[list[Incoming], RefusalError | None]:
        """Return the events of the lines before the first one that is no event, and its problem."""
        found, checker = list[Incoming](), Checker(self.node, self.channel)
        for line in lines:
            try:
                event = parse(line.text)
                await checker.check(event)
            except json.JSONDecodeError as error:
                return found, ProblemError(400, f"the line is not JSON: {error}")
            except InvalidEventError as error:
                return found, unfit(error)
            except ProblemError as problem:
                return found, problem
            found.append(event)
        return found, None

    async def permitted(self, events: Sequence[Incoming]) -> tuple[int, RefusalError | None]:
        """Return how many of the events may be published, and why no more."""
        try:
            await self.permit.require({event.key for event in events})
        except RefusalError as first:
            if len(events) == 1:
                return 0, first
            for count, event in enumerate(events):
                try:
                    await self.permit.require({event.key})
                except RefusalError as refusal:
                    return count, refusal
        return len(events), None

    def publications(
        self, lines: Sequence[_Numbered], events: Sequence[Incoming]
    ) -> Iterator[Publication]:
        """Return events with their keys: the id of each, else the request's key and its line."""
        if not self.key:
            return publications(self.channel, events)
        return (
            Publication(
                self.channel,
                [event[:3]],
                f"id:{event.id}" if event.id else f"line:{self.key}\n{line.number}",
            )
            for line, event in zip(lines, events, strict=False)  # there may be fewer events
        )

    async def publish(self, lines: Sequence[_Numbered], answer: LinesAnswer) -> None:
        """Publish lines, and note their ids.

        Raises:
            RefusalError: some are not published. Its line is noted.
        """
        if self.node.draining:
            answer.line = lines[0].number
            raise ProblemError(503, "this node is shutting down", SOON)
        events, problem = await self.events(lines)
        count, refusal = await self.permitted(events)
        sent = list(self.publications(lines, events[:count]))
        written = await write(self.node.publishing, sent, self.permit.subject)
        for line, id_ in zip(lines, written.ids, strict=False):
            if id_ is not None:
                answer.add(line.number, str(id_))
        if trouble := written.problem or refusal or problem:
            done = 0 if written.problem else count
            missing = [n for n, id_ in enumerate(written.ids) if id_ is None]
            answer.line = lines[missing[0] if missing else done].number
            raise trouble


class LinesAnswer:
    """The answer, a line for each line. It is sent at its end, or from 1 MiB on as it grows.

    Attributes:
        line: the number of the line that can't be published; 0 if that is none.
    """

    def __init__(self, send: Send) -> None:
        """Send nothing yet."""
        self.line = 0
        self._send = send
        self._parts: list[bytes] = []
        self._size = 0
        self._begun = False

    def add(self, number: int, id_: str) -> None:
        """Note the id of a line."""
        self._append(b'{"line":%d,"id":"%b"}\n' % (number, id_.encode()))

    def _append(self, line: bytes) -> None:
        self._parts.append(line)
        self._size += len(line)

    async def flush(self) -> None:
        """Send what there is, if it is much. It waits for as long as the client reads nothing."""
        if self._begun or self._size > _ANSWER_BYTES:
            await self._body(200, more=True)

    async def end(self, response: Response | None = None) -> None:
        """Send the rest of the answer.

        Args:
            response: to the line that can't be published; None if all are. Its status is that of
                the answer, unless that has begun.
        """
        headers = list[tuple[bytes, bytes]]()
        if response is not None:
            problem = json.loads(bytes(response.body))
            kept = ("detail", "status", "title", "pointer")
            said = {name: problem[name] for name in kept if name in problem}
            self._append(orjson.dumps({"line": self.line, **said}) + b"\n")
            keep = (b"retry-after", b"www-authenticate")
            headers = [pair for pair in response.raw_headers if pair[0] in keep]
        if not self._begun:
            size = sum(map(len, self._parts))
            headers.append((b"content-length", b"%d" % size))
        status = response.status_code if response else 200
        await self._body(status, headers, more=False)

    async def _body(
        self, status: int, headers: Sequence[tuple[bytes, bytes]] = (), *, more: bool
    ) -> None:
        if not self._begun:
            self._begun = True
            own = [(b"content-type", MEDIA_TYPE.encode()), (b"cache-control", b"no-store"), *SAFE]
            start = {"type": "http.response.start", "status": status, "headers": [*own, *headers]}
            await self._send(start)
        body, self._parts, self._size = b"".join(self._parts), [], 0
        await self._send({"type": "http.response.body", "body": body, "more_body": more})


class LinesResponse(Response):
    """The answer to a body of lines, which publishes them while it is read."""

    def __init__(self, lines: Lines, held: ExitStack) -> None:
        """Store the arguments.

        Args:
            lines: what is published.
            held: what is freed at the end.
        """
        super().__init__()
        self._lines = lines
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, publish it, and answer."""
        answer = LinesAnswer(send)
        try:
            with self._held:
                await answer.end(await self._published(receive, answer))
        except ClientDisconnect:
            return

    async def _published(self, receive: Receive, answer: LinesAnswer) -> Response | None:
        """Publish, and return the answer to the line that can't be published."""
        try:
            async for lines in _batches(self._lines.node, receive, answer):
                await self._lines.publish(lines, answer)
                await answer.flush()
        except AnsweredError as error:
            return error.response
        return None


async def _batches(
    node: ServedNode, receive: Receive, answer: LinesAnswer
) -> AsyncIterator[list[_Numbered]]:
    """Yield the lines that have arrived, without blank ones.

    Raises:
        ProblemError: a line is too long, or nothing comes. Its line is noted.
        ClientDisconnect: the client has left.
    """
    rest, number, more = b"", 0, True
    while more:
        answer.line = number + 1
        message = await _next(node, receive)
        more = message.get("more_body", False)
        *texts, rest = (rest + message.get("body", b"")).split(b"\n")
        lines = [_Numbered(number + n, text) for n, text in enumerate(texts, 1) if text.strip()]
        number += len(texts)
        if rest.strip() and not more:
            lines.append(_Numbered(number + 1, rest))
        for start in range(0, len(lines), _BATCH):
            yield lines[start : start + _BATCH]
        answer.line = number + 1
        if len(rest) > (most_bytes := node.settings.max_publish_bytes):
            raise ProblemError(413, f"a line has more than {most_bytes} bytes")


async def _next(node: ServedNode, receive: Receive) -> Any:
    """Return the next part of a body. It does not come if the node shuts down."""
    coming, began_s = asyncio.ensure_future(receive()), time.monotonic()
    try:
        while not (await asyncio.wait({coming}, timeout=_LOOK_S))[0]:
            if node.draining:
                raise ProblemError(503, "this node is shutting down", SOON)
            if time.monotonic() - began_s > _QUIET_S:
                raise ProblemError(408, f"nothing came for {_QUIET_S:g} s")
        message = coming.result()
    finally:
        coming.cancel()
    if message["type"] != "http.request":
        raise ClientDisconnect
    return message
