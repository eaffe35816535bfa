"""A client of event streams that resumes, for `broadcaster tail` and for Python programs.

It behaves like a browser's `EventSource`. It reads events and remembers the last id. When the
connection breaks or ends, it waits for the reconnection time that the server sent, and reconnects
with that id. It stops at 204. It works with any event stream on the web.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing

import httpx
import orjson

from broadcaster.client.parser import Parser, StreamEvent
from broadcaster.core.backoff import backoff_s
from broadcaster.core.wire import AT, LIVE, RESERVED_PREFIX, STATE
from broadcaster.errors import StreamRefusedError

MIME = "text/event-stream"
# "an implementation-defined value, probably in the region of a few seconds"
# https://html.spec.whatwg.org/multipage/server-sent-events.html#concept-event-stream-reconnection-time
_RETRY_S = 3.0
_LEAST_BACKOFF_S = 0.1
_MAX_BACKOFF_S = 30.0
_CONNECT_TIMEOUT_S = 10.0
_SILENCE_S = 60.0
_TOO_MANY_REQUESTS = 429


class EventSource:
    """Reads one event stream, over any number of connections, until it is over.

    Attributes:
        url: url of the stream.
        last_event_id: id that the next connection resumes after. Store it and give it to another
            `EventSource` later to continue without a gap.
        previous_event_id: the id before that. Where an id has several positions, the two show which
            of them the event has moved.
        retry_s: reconnection time in seconds, as the server sent it; 3 s until then.
    """

    def __init__(
        self,
        url: str,
        *,
        last_event_id: str = "",
        headers: Mapping[str, str] | Callable[[], Mapping[str, str]] | None = None,
        ticket: Callable[[], Awaitable[str]] | None = None,
        silence_s: float = _SILENCE_S,
        on_change: Callable[[str, float], object] = lambda trouble, wait_s: None,
    ) -> None:
        """Describe the stream to read. Nothing is sent before `events`.

        Args:
            url: a url with http:// or https://.
            last_event_id: id of the event to continue after. Without it, the url decides where to
                begin.
            headers: more headers to send, for example `Authorization`. A function is called for
                each connection, so that it can return a fresh token.
            ticket: fetches a ticket for the url. Called for each connection, so that a fresh one is
                there before the old one ends, and after `stream.expired`. Its httpx errors are
                trouble that passes.
            silence_s: seconds without a byte after which a connection is given up. Must be above
                the server's heartbeat.
            on_change: called when a connection fails or ends, with the reason and the seconds until
                the next attempt. Called with `""` and 0 when a connection is open.
        """
        self.url = url
        self.last_event_id = last_event_id
        self.previous_event_id = last_event_id
        self.retry_s = _RETRY_S
        self._headers = headers or {}
        self._ticket = ticket
        self._timeout = httpx.Timeout(_CONNECT_TIMEOUT_S, read=silence_s)
        self._on_change = on_change
        self._failures = 0

    def __aiter__(self) -> AsyncGenerator[StreamEvent, None]:
        """Return `events()`, so that `async for event in source` reads the stream."""
        return self.events()

    async def events(self) -> AsyncGenerator[StreamEvent, None]:
        """Yield events until the server says that there are no more (204).

        `stream.at` is not yielded: it only moves `last_event_id`.

        After trouble that may pass (no connection, a broken one, 429, 5xx) it connects again.
        Cancelling, or closing the generator, closes the connection. `last_event_id` is then that of
        the last event that was yielded, or of a `stream.at` after it.

        Raises:
            StreamRefusedError: the server answered another status, or not with an event stream.
        """
        async with httpx.AsyncClient(timeout=self._timeout, follow_redirects=True) as client:
            while True:
                trouble = "the response ended"
                try:
                    async with aclosing(self._connection(client)) as events:
                        async for event in events:
                            yield event
                except _OverError:
                    return
                except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
                    raise StreamRefusedError(0, f"{self.url!r}: {error}") from error
                except httpx.HTTPError as error:
                    trouble = str(error) or type(error).__name__
                wait_s = self._wait_s()
                self._on_change(trouble, wait_s)
                await asyncio.sleep(wait_s)

    async def _connection(self, client: httpx.AsyncClient) -> AsyncGenerator[StreamEvent, None]:
        given = self._headers() if callable(self._headers) else self._headers
        sent = {"Accept": MIME, "Cache-Control": "no-store", **given}
        headers = httpx.Headers(sent, encoding="utf-8")  # the standard sends ids as UTF-8
        if self.last_event_id:
            headers["Last-Event-ID"] = self.last_event_id
        url = httpx.URL(self.url)
        if self._ticket:
            url = url.copy_set_param("ticket", await self._ticket())
        async with client.stream("GET", url, headers=headers) as response:
            await _check(response)
            self._failures = 0
            self._on_change("", 0)
            parser, in_state = Parser(self.last_event_id), False
            async for data in response.aiter_bytes():
                for event in parser.feed(data):
                    self.previous_event_id = self.last_event_id
                    self._note(parser)
                    if event.type in (STATE.type, LIVE.type):
                        in_state = event.type == STATE.type
                    if event.type != AT.type:
                        is_part = in_state and not event.type.startswith(RESERVED_PREFIX)
                        yield event._replace(state=True) if is_part else event
                self._note(parser)

    def _note(self, parser: Parser) -> None:
        self.last_event_id = parser.last_event_id
        if parser.retry_ms is not None:
            self.retry_s = parser.retry_ms / 1000

    def _wait_s(self) -> float:
        """Return the seconds until the next attempt: the server's time first, then a backoff."""
        wait_s = self.retry_s
        if self._failures:
            least_s, most_s = max(wait_s, _LEAST_BACKOFF_S), max(wait_s, _MAX_BACKOFF_S)
            wait_s = backoff_s(self._failures, least_s, most_s, random.random())
        self._failures += 1
        return wait_s


class _OverError(Exception):
    """The server answered 204: there are no more events."""


async def _check(response: httpx.Response) -> None:
    """Raise unless the response is an event stream. `EventSource.events` says what it raises."""
    status = response.status_code
    if status == httpx.codes.NO_CONTENT:
        raise _OverError
    if status >= httpx.codes.INTERNAL_SERVER_ERROR or status == _TOO_MANY_REQUESTS:
        raise httpx.HTTPError(f"the server answered {status} {response.reason_phrase}")
    content = response.headers.get("content-type", "")
    if status != httpx.codes.OK:
        raise StreamRefusedError(status, _detail(await response.aread(), response.reason_phrase))
    if content.partition(";")[0].strip().lower() != MIME:
        raise StreamRefusedError(status, f"the answer is {content!r}, not an event stream")


def _detail(body: bytes, otherwise: str) -> str:
    """Return `detail` of a problem document (RFC 9457); `otherwise` if the body is none."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return otherwise
    return str(found.get("detail") or otherwise) if isinstance(found, dict) else otherwise
