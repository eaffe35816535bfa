"""uvicorn's HTTP protocol, with bounds on what a client may send before and behind its request.

uvicorn stores all that comes. A client could make a node hold endless headers, or thousands of
requests behind an event stream that never ends. uvicorn also writes its answer to invalid bytes
into a response that has begun.
"""

from __future__ import annotations

import logging
from enum import Enum, auto
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from broadcaster.core.wire import Refusal
from broadcaster.web.problem import problem
from broadcaster.web.uvicorn.offer import EXTENSION
from broadcaster.web.uvicorn.open_connections import OpenConnections

logger = logging.getLogger(__name__)

MAX_PIPELINED = 16
"""Requests of a connection that may wait for their answers. Browsers send no such requests."""

# A piece is parsed at once. Its requests become objects, which take a hundred times its bytes.
_PIECE_BYTES = 4096

_LINGER_S = 1.0

_ANSWERS = {
    Refusal.INVALID: (400, "this is not a request of HTTP/1.1"),
    Refusal.HEAD: (431, "the request's head has more bytes or headers than this node takes"),
    Refusal.SLOW: (408, "the request's head was not complete in time"),
    Refusal.BEHIND: (413, "the request's body is larger than this node takes"),
}
_LONG_TARGET = (414, "the request's target is longer than this node takes")


class _RefusedError(Exception):
    """Stops the parser."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__(reason)
        self.reason = reason


class _Phase(Enum):
    """The part of a request that the next byte belongs to."""

    BETWEEN = auto()
    RESTING = auto()
    """It is between two requests, as in BETWEEN, and all requests are answered."""
    HEAD = auto()
    BODY = auto()


class BoundedProtocol(HttpToolsProtocol):
    """Refuses too large, too slow and too many requests, and counts connections without one.

    Attributes:
        answering: uvicorn's cycles of requests without a complete response, the oldest first.
        refused: what comes from now on is not read, and the connection will be closed.
    """

    # Slots, because CPython shares the keys of instance dicts only up to a limit. One more
    # attribute in the dict would pass it and cost each connection 1.3 KB.
    __slots__ = ("_fed", "_held", "_opened", "_phase", "_spread", "answering", "refused")

    attach: Any = None
    """An `Attach` that is offered to each request; None offers nothing."""

    def __init__(self, *args: Any, opened: OpenConnections, **kwargs: Any) -> None:
        """Take the arguments of uvicorn's protocol, and the connections of the server."""
        super().__init__(*args, **kwargs)
        self.answering: list[RequestResponseCycle] = []
        self.refused = False
        self._opened = opened
        self._spread = opened.spread
        self._phase = _Phase.BETWEEN
        self._fed = 0  # bytes of the head, or bytes behind the request that is being answered
        self._held = b""  # bytes that wait for their turn

    def connection_made(self, transport: Any) -> None:
        """Wait for a request."""
        super().connection_made(transport)
        self._opened.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Mark all requests as disconnected. uvicorn would mark only the newest."""
        self._opened.leave(self)
        for cycle in self.answering:
            cycle.disconnected = True
            cycle.message_event.set()
        super().connection_lost(exc)
        # Cycles refer to this protocol, so without this both would wait for a full collection.
        self.answering.clear()
        self.pipeline.clear()

    def data_received(self, data: bytes) -> None:
        """Take what came, at once or in a later turn of the event loop."""
        self._unset_keepalive_if_required()
        if self.refused:
            self._ignore_rest()
            return
        if self._phase is _Phase.RESTING:
            self._phase = _Phase.BETWEEN
            self._opened.expect(self)
        if self._held:  # TLS brings what it has read, although reading is paused
            self._held += data
        elif self._phase is _Phase.BODY or self._spread.taken < self._spread.per_turn:
            self._feed_all(data)
        else:
            self._held = data
            self.transport.pause_reading()
            self._spread.call(self._take_turn)

    def _take_turn(self) -> None:
        """Parse what was held, and read on unless uvicorn has stopped reading as well."""
        self._spread.taken -= 1  # each request in it takes a place of its own
        data, self._held = self._held, b""
        if self.transport.is_closing():
            return
        if not self.flow.read_paused:
            self.transport.resume_reading()
        if self.refused:
            self._ignore_rest()
        else:
            self._feed_all(data)

    def _feed_all(self, data: bytes) -> None:
        """Parse bytes, in small pieces, until a bound is exceeded."""
        for at in range(0, len(data), _PIECE_BYTES):
            if not self._feed(data[at : at + _PIECE_BYTES]):
                return

    def _ignore_rest(self) -> None:
        """Drop what comes after a bound. If a response has begun, it ends here."""
        if self.answering and self.answering[0].response_started:
            self.transport.abort()

    def _feed(self, piece: bytes) -> bool:
        """Parse a piece. Return True if more may come."""
        self._fed += len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(piece[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            ours = error.__context__
            self._refuse(ours.reason if isinstance(ours, _RefusedError) else Refusal.INVALID)
        if self._fed > self._opened.bounds.max_head_bytes and not self.refused:
            is_body = self._phase is _Phase.BODY
            self._refuse(Refusal.BEHIND if self.answering or is_body else Refusal.HEAD)
        return not self.refused

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Go on with HTTP/1.1.

        "A server MAY ignore a received Upgrade header field if it wishes to continue using the
        current protocol on that connection." https://www.rfc-editor.org/rfc/rfc9110#section-7.8
        """
        if any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers):
            self._stop_reading()  # the parser has not looked where the body ends
        elif rest:
            self._fed -= len(rest)
            self._feed(rest)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._phase = _Phase.HEAD
        if not self.answering:
            self._fed = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer of a body."""
        super().on_header(name, value)
        if len(self.headers) > self._opened.bounds.max_headers:
            raise _RefusedError(Refusal.HEAD)

    def on_headers_complete(self) -> None:
        """A request's head is complete. It is answered, or waits behind others."""
        if len(self.answering) > MAX_PIPELINED:
            raise _RefusedError(Refusal.BEHIND)
        self._take_host_of_target()
        super().on_headers_complete()
        self._phase = _Phase.BODY
        self._opened.serve(self)
        self._spread.taken += 1
        self.answering.append(self.cycle)
        if self.attach:
            self.scope["extensions"] = {EXTENSION: self.attach}
        if len(self.answering) == 1:
            self._fed = 0
        else:  # uvicorn has stopped reading, and would not notice that a client has left
            self.flow.resume_reading()

    def _take_host_of_target(self) -> None:
        """Put the host of a target like `http://a/b` in the place of the header's.

        "the origin server MUST ignore the received Host header field (if any) and instead use the
        host information of the request-target"
        https://www.rfc-editor.org/rfc/rfc9112#section-3.2.2
        """
        if not self.url.startswith(b"/") and (host := httptools.parse_url(self.url).host):
            others = [pair for pair in self.headers if pair[0] != b"host"]
            self.headers[:] = [(b"host", host), *others]

    def on_body(self, body: bytes) -> None:
        """Take a part of a body. That of a POST is not counted while it is answered.

        The application may read it, and uvicorn stops reading while too much of it waits.
        """
        if self.scope["method"] == "POST" and len(self.answering) == 1:
            self._fed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is complete."""
        super().on_message_complete()
        self._phase = _Phase.BETWEEN

    def on_response_complete(self) -> None:
        """Answer the next request, or wait for one."""
        if self.answering:
            self.answering.pop(0)
        self._fed = 0
        super().on_response_complete()
        if self.answering or self.transport.is_closing():
            return
        if self._phase is _Phase.BETWEEN and not self._held:
            self._phase = _Phase.RESTING
            self._opened.rest(self)
        else:  # bytes that wait for their turn, half of a request, or a body that nothing has read
            self._unset_keepalive_if_required()
            self._opened.expect(self)

    def close_for(self, reason: Refusal) -> None:
        """Close the connection, which waits too long, or longest."""
        if reason is Refusal.SLOW and self._phase is _Phase.HEAD:
            self._refuse(reason)
            return
        self.refused = True
        self._opened.meters.refused[reason] += 1
        self.transport.abort()

    def _refuse(self, reason: Refusal) -> None:
        self._opened.meters.refused[reason] += 1
        logger.debug("a connection is closed: %s", reason)
        if not self.answering and self._phase is not _Phase.BODY:
            self._answer(reason)
        elif self._is_first_body():
            self.cycle.disconnected = True  # the application's answer comes too late
            self._answer(reason)
        elif not self.answering or self.answering[0].response_started:
            self.refused = True
            self.transport.abort()
        else:
            self._stop_reading()

    def _is_first_body(self) -> bool:
        """Return True if the body of the only request comes, and its response has not begun."""
        only = len(self.answering) == 1 and not self.answering[0].response_started
        return only and self._phase is _Phase.BODY

    def _stop_reading(self) -> None:
        """Close the connection after the answers to the requests that are complete."""
        self.refused = True
        self.answering[-1].keep_alive = False

    def _answer(self, reason: Refusal) -> None:
        self.refused = True
        status, detail = _ANSWERS[reason]
        if reason is Refusal.HEAD and not self.headers and len(self.url) > _PIECE_BYTES:
            status, detail = _LONG_TARGET
        response = problem(status, detail, {"connection": "close"})
        # Of the request's headers, those that have come.
        cors = self._opened.bounds.cors(self.headers or [])
        headers = (*self.server_state.default_headers, *response.raw_headers, *cors)
        lines = b"".join(b"%b: %b\r\n" % pair for pair in headers)
        head = b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, HTTPStatus(status).phrase.encode(), lines)
        self._opened.serve(self)
        self.transport.write(head + bytes(response.body))
        # If bytes are left unread at the end, the client's system drops the answer.
        # https://www.rfc-editor.org/rfc/rfc9112#section-9.6
        self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self.transport.abort)
