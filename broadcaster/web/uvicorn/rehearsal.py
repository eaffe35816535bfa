"""Tries every uvicorn internal that we use, before a server accepts its first connection.

It plays the same requests to uvicorn's own protocol, which answers through ASGI, and to ours,
which writes to the transport. Both must write the same bytes, leave uvicorn's cycle in the same
state, and schedule the same work. If they differ, event streams use the ASGI sink. So a change in
uvicorn, even a harmless one, makes streams slower but breaks no response. That matters because an
`EventSource` that is answered 500 does not come back.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from broadcaster.web.uvicorn.offer import EXTENSION
from broadcaster.web.uvicorn.protocol import StreamProtocol

_HEADERS = [(b"content-type", b"text/event-stream")]
_PIECE = b"data: x\n\n"
_START = {"type": "http.response.start", "status": 200, "headers": _HEADERS}
_BODY = {"type": "http.response.body", "body": _PIECE, "more_body": True}
_END = {"type": "http.response.body", "body": b"", "more_body": False}

_GET = b"GET /a HTTP/%b\r\nhost: a\r\n%b\r\n"
_REQUESTS = {
    "HTTP/1.1": [_GET % (b"1.1", b"")],
    "HTTP/1.1, closing": [_GET % (b"1.1", b"connection: close\r\n")],
    "HTTP/1.0": [_GET % (b"1.0", b"")],
    "HTTP/1.1, pipelined": [_GET % (b"1.1", b"")] * 2,
}
_PLAIN = (bool, int, bytes, str, type(None))


def rehearse() -> str:
    """Allow the transport sink if uvicorn behaves as expected.

    Returns:
        A description of the first difference; empty if there is none.
    """
    StreamProtocol.rehearsed = RequestResponseCycle.send
    try:
        for name, requests in _REQUESTS.items():
            _compare(name, requests, lost=False)
        # Not for the pipeline: of those requests uvicorn marks only the newest as disconnected.
        _compare("HTTP/1.1, lost", _REQUESTS["HTTP/1.1"], lost=True)
    except Exception as error:  # uvicorn may have changed in any way
        StreamProtocol.rehearsed = None
        return repr(error)
    return ""


def _compare(name: str, requests: list[bytes], *, lost: bool) -> None:
    theirs = _played(HttpToolsProtocol, requests, _through_asgi, lost=lost)
    ours = _played(StreamProtocol, requests, _into_the_transport, lost=lost)
    for what, expected in theirs.items():
        if ours[what] != expected:
            raise _DiffersError(f"{name}: {what}: {expected!r} through ASGI, {ours[what]!r} by us")


class _DiffersError(Exception):
    """The two protocols left different results."""


Way = Callable[[Any, "_Transport"], dict[str, object]]


def _played(
    protocol_class: type[HttpToolsProtocol], requests: list[bytes], answer: Way, *, lost: bool
) -> dict[str, object]:
    """Answer the first request, without a socket and without an event loop.

    Args:
        protocol_class: uvicorn's protocol, or ours.
        requests: the requests to receive before the first one is answered.
        answer: starts the response and sends a piece of its body.
        lost: True loses the connection before the response is over.

    Returns:
        The results to compare, by name. They must be equal for both protocols.
    """
    loop, transport = _Loop(), _Transport()
    protocol = _connected(protocol_class, loop, transport)
    protocol.data_received(requests[0])
    cycle = protocol.cycle
    for request in requests[1:]:
        protocol.data_received(request)
    seen = answer(cycle, transport)
    protocol.pause_writing()
    protocol.resume_writing()
    if lost:
        protocol.connection_lost(None)
    seen["the cycle meanwhile"] = _state(cycle)
    if isinstance(protocol, StreamProtocol):
        protocol.detach()
    _run(cycle.send(cast("Any", _END)))
    seen["the cycle at the end"] = _state(cycle)
    seen["what was written"] = bytes(transport.written)
    seen["what was done"] = [call for call in transport.calls if call in ("close", "resume")]
    seen["what was begun"] = loop.begun
    if not lost:
        protocol.connection_lost(None)
    return seen


def _connected(
    protocol_class: type[HttpToolsProtocol], loop: _Loop, transport: _Transport
) -> HttpToolsProtocol:
    state = ServerState()
    state.default_headers = [(b"date", b"now")]
    config = uvicorn.Config(
        _no_application,
        http=protocol_class,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level=None,
    )
    protocol = protocol_class(config, state, {}, cast("Any", loop))
    protocol.connection_made(cast("Any", transport))
    return protocol


def _through_asgi(cycle: Any, transport: _Transport) -> dict[str, object]:
    if cycle.scope["http_version"] == "1.0":
        # Without this, uvicorn would use the chunked coding, which HTTP/1.0 does not have.
        cycle.chunked_encoding, cycle.expected_content_length = False, len(_PIECE)
    transport.calls.clear()
    _run(cycle.send(_START))
    _run(cycle.send(_BODY))
    # An event stream skips these two calls, so they must do nothing but write.
    return {"calls of the transport": list(transport.calls)}


def _into_the_transport(cycle: Any, transport: _Transport) -> dict[str, object]:
    attach = cycle.scope["extensions"][EXTENSION]
    protocol, offered = attach(cycle.send, _Events(), 1, 1.0)
    head = protocol.start(_HEADERS)
    offered.write(head)
    offered.write(b"%x\r\n%b\r\n" % (len(_PIECE), _PIECE) if cycle.chunked_encoding else _PIECE)
    return {"calls of the transport": ["write", "write"]}


def _state(cycle: Any) -> dict[str, object]:
    return {n: v if isinstance(v, _PLAIN) else "…" for n, v in vars(cycle).items()}


def _run(sending: Coroutine[Any, Any, None]) -> None:
    try:
        sending.send(None)
    except StopIteration:
        return
    sending.close()
    raise _DiffersError("`send` waits, though nothing is in its way")


async def _no_application(scope: Any, receive: Any, send: Any) -> None:
    raise NotImplementedError


class _Events:
    """Transport callbacks that do nothing."""

    def pause_writing(self) -> None:
        return

    def resume_writing(self) -> None:
        return

    def connection_lost(self, error: Exception | None) -> None:
        return


class _Loop:
    """An event loop that records the tasks and timers that uvicorn begins."""

    def __init__(self) -> None:
        self.begun: list[str] = []

    def create_task(self, work: Coroutine[Any, Any, None], **_: object) -> _Begun:
        work.close()
        self.begun.append("a request")
        return _Begun()

    def call_later(self, *_: object) -> _Begun:
        self.begun.append("a timer")
        return _Begun()


class _Begun:
    def add_done_callback(self, _: object) -> None:
        return

    def cancel(self) -> None:
        return


class _Transport:
    """A transport that records calls. A call that it lacks shows a change in uvicorn."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.written = bytearray()

    def get_extra_info(self, _: str) -> None:
        return None

    def set_write_buffer_limits(self, high: int) -> None:
        self.calls.append("limit")

    def is_closing(self) -> bool:
        self.calls.append("is_closing")
        return "close" in self.calls

    def write(self, data: bytes) -> None:
        self.calls.append("write")
        self.written += data

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")

    def close(self) -> None:
        self.calls.append("close")
