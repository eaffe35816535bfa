"""Responses in the format of another protocol. They end cleanly only if they are complete.

Clients such as npm `ai` take a clean end for a whole answer. So trouble after the first byte cuts
the connection: the server closes it without the last chunk of HTTP/1.1. Trouble before it is 503.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import Any, Protocol

from starlette.responses import Response as Response  # for those above, which need its name
from starlette.types import Receive, Scope, Send

from broadcaster.core.wire import Ending, SinkKind
from broadcaster.errors import BroadcasterError
from broadcaster.web.connection import OpenStream
from broadcaster.web.leaving import left
from broadcaster.web.problem import SAFE, SafeResponse, problem
from broadcaster.web.serving import ServedNode

logger = logging.getLogger(__name__)

_COMMENT = b":\n\n"
_QUIET_S = 15.0
_SOON = {"retry-after": "1"}
_HEADERS = (
    *SAFE,
    (b"cache-control", b"no-cache, no-store, no-transform"),
    (b"x-accel-buffering", b"no"),
)


class CutError(Exception):
    """Ends a response without its end, on purpose.

    ASGI has no message for that, so that a server only learns it as an exception. Its log has no
    error then: `_NoError` sees to that.

    Attributes:
        ending: why.
    """

    def __init__(self, text: str, ending: Ending = Ending.CUT) -> None:
        """Store the arguments."""
        super().__init__(text)
        self.ending = ending


class _NoError(logging.Filter):
    """Keeps a `CutError` out of a server's log, and writes a line into ours."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]  # a task group of a middleware
        if isinstance(error, CutError):
            logger.info("a response is cut: %s", error)
        return not isinstance(error, CutError)


for _server in ("uvicorn.error", "hypercorn.error"):
    logging.getLogger(_server).addFilter(_NoError())


class Formatter(Protocol):
    """Turns the events of one run into the bytes of one response."""

    headers: tuple[tuple[bytes, bytes], ...]

    def begin(self, run: str, began_ms: int) -> bytes:
        """Return the first bytes of the response."""

    def event(self, type_: str, data: str) -> bytes:
        """Return the bytes of one event."""


class FormattedResponse(Response):
    """A response with the events of a run, in one format."""

    def __init__(
        self,
        formatter: Formatter | None,
        run: str,
        events: AsyncIterator[tuple[str, str]] | None,
        instead: Response | None = None,
        *,
        began_ms: int = 0,
        node: ServedNode | None = None,
        stream: str = "",
    ) -> None:
        """Store the arguments. Nothing is read before it is sent.

        Args:
            formatter: makes the bytes.
            run: the id of the run.
            events: the type and the data of each event. It raises a `CutError` if they are not all.
            instead: is sent instead of all this.
            began_ms: milliseconds since 1970 at which the run began.
            node: counts the response, and says how long its client may take nothing.
            stream: the name of the stream that has the events.
        """
        super().__init__()
        self.run = run
        self._node = node
        self._stream = stream
        self._open: OpenStream | None = None
        self._began_ms = began_ms
        self._formatter = formatter
        self._events = events
        self._instead = instead
        self._coming: asyncio.Future[tuple[str, str] | None] | None = None
        if instead is not None:
            self.status_code, self.raw_headers = instead.status_code, instead.raw_headers
        elif formatter is not None:
            self.raw_headers = [*_HEADERS, *formatter.headers]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, until its end or until its client has left.

        Raises:
            CutError: the answer can't be sent to its end.
        """
        if self._instead is not None:
            await self._instead(scope, receive, send)
            return
        assert self._events is not None
        leaving = asyncio.create_task(left(receive))
        reason = Ending.ERROR
        try:
            async with aclosing(self._events) as events:  # type: ignore[type-var]
                try:
                    reason = await self._send(events, scope, receive, send, leaving)
                finally:  # also where a server that stops cancels this
                    await _dropped(self._coming)
        except CutError as cut:
            reason = cut.ending
            raise
        except asyncio.CancelledError:
            reason = Ending.DRAIN
            raise
        finally:
            await _dropped(leaving)
            if self._open:
                self._open.closed(reason)

    async def _send(
        self,
        events: AsyncIterator[tuple[str, str]],
        scope: Scope,
        receive: Receive,
        send: Send,
        leaving: asyncio.Task[None],
    ) -> Ending:
        assert self._formatter is not None
        formatter, has_begun = self._formatter, False
        while True:
            try:
                data = await self._next(events, leaving)
            except (CutError, BroadcasterError) as error:
                if has_begun and isinstance(error, CutError):
                    raise
                if has_begun:
                    raise CutError(str(error)) from error
                await not_now(str(error))(scope, receive, send)
                return Ending.ERROR  # of a response that has not begun
            if data is None and leaving.done():
                return Ending.CLIENT
            if not has_begun:
                has_begun = True
                self._begins(scope)
                begin = {"type": "http.response.start", "status": 200}
                await self._put(send, {**begin, "headers": self.raw_headers})
                await self._put(send, _body(formatter.begin(self.run, self._began_ms)))
            if data is None:
                await self._put(send, _body(b"", more=False))
                return Ending.COMPLETE
            if data:
                await self._put(send, _body(data))

    def _begins(self, scope: Scope) -> None:
        if self._node:
            meters, logged = self._node.meters, self._node.settings.access_log
            meters.opened[SinkKind.FORMAT] += 1
            self._open = OpenStream(meters, scope, [self._stream], resumed=False, logged=logged)

    async def _put(self, send: Send, message: dict[str, object]) -> None:
        """Send a part. A client that takes nothing for too long is cut."""
        timeout_s = self._node.settings.send_timeout_s if self._node else None
        try:
            async with asyncio.timeout(timeout_s):
                await send(message)
        except TimeoutError as error:
            raise CutError("its client takes nothing", Ending.SEND_TIMEOUT) from error

    async def _next(
        self, events: AsyncIterator[tuple[str, str]], leaving: asyncio.Task[None]
    ) -> bytes | None:
        """Return the next bytes, of an event or a comment; None at the end, or without a client."""
        assert self._formatter is not None
        if self._coming is None:
            self._coming = asyncio.ensure_future(anext(events, None))
        coming = self._coming
        waiting: set[asyncio.Future[Any]] = {coming, leaving}
        await asyncio.wait(waiting, timeout=_QUIET_S, return_when=asyncio.FIRST_COMPLETED)
        if leaving.done():
            return None
        if not coming.done():
            return _COMMENT
        self._coming = None
        found = coming.result()
        return None if found is None else self._formatter.event(*found)


def _body(data: bytes, *, more: bool = True) -> dict[str, object]:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def _dropped(waiting: asyncio.Future[Any] | None) -> None:
    """Stop waiting for something, whose result is not needed."""
    if waiting is not None:
        waiting.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await waiting


def nothing() -> FormattedResponse:
    """Return 204: there is no answer to follow."""
    return FormattedResponse(None, "", None, SafeResponse(status_code=204))


def not_now(detail: str) -> FormattedResponse:
    """Return 503 for trouble that passes."""
    return FormattedResponse(None, "", None, problem(503, detail, _SOON))


def too_many(detail: str) -> FormattedResponse:
    """Return 429, as the caller has all that it may have."""
    return FormattedResponse(None, "", None, problem(429, detail, _SOON))
