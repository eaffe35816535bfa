"""Tries every uvicorn internal that we use, before a server accepts its first connection.

It plays the same requests to uvicorn's own protocol, which answers through ASGI, and to ours,
which writes to the transport. Both must write the same bytes, leave uvicorn's cycle in the same
state, and schedule the same work. If they differ, event streams use the ASGI sink. So a change in
uvicorn, even a harmless one, makes streams slower but breaks no response. That matters because an
`EventSource` that is answered 500 does not come back.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeAlias, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from broadcaster.core.counters import Meters
from broadcaster.core.wire import Refusal
from broadcaster.web.spread import Spread
from broadcaster.web.uvicorn.bounded import BoundedProtocol
from broadcaster.web.uvicorn.offer import EXTENSION
from broadcaster.web.uvicorn.open_connections import Bounds, OpenConnections
from broadcaster.web.uvicorn.protocol import StreamProtocol
from broadcaster.web.uvicorn.stage import Events, Loop, Made, Transport, connected

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
# Each is refused at once, and then the connection is closed.
_REFUSED = {
    b"\x16\x03\x01\x02\x00": (Refusal.INVALID, b"HTTP/1.1 400 "),
    _GET % (b"1.1", b"a: b\r\n" * 9): (Refusal.HEAD, b"HTTP/1.1 431 "),
    b"GET /a HTTP/1.1\r\na: " + b"b" * 9999: (Refusal.HEAD, b"HTTP/1.1 431 "),
    b"GET /" + b"a" * 9999: (Refusal.HEAD, b"HTTP/1.1 414 "),
    b"PUT /a HTTP/1.1\r\ncontent-length: 99999\r\n\r\n" + b"a" * 9999:
        (Refusal.BEHIND, b"HTTP/1.1 413 "),
    _GET % (b"1.1", b"") * 20: (Refusal.BEHIND, b""),
}  # fmt: skip
_BODY_OF_POST = b"POST /a HTTP/1.1\r\ncontent-length: 999999\r\n\r\n" + b"a" * 99_999
_UPGRADE = _GET % (b"1.1", b"connection: upgrade\r\nupgrade: h2c\r\n")
_PLAIN = (bool, int, bytes, str, type(None))


def rehearse() -> str:
    """Allow the transport sink if uvicorn behaves as expected.

    Returns:
        A description of the first difference; empty if there is none.
    """
    StreamProtocol.rehearsed = RequestResponseCycle.send
    try:
        for name, requests in _REQUESTS.items():
            _compare(name, requests, _STREAM, _into_the_transport, lost=False)
        # Not for the pipeline: of those requests uvicorn marks only the newest as disconnected.
        lost = _REQUESTS["HTTP/1.1"]
        _compare("HTTP/1.1, lost", lost, _STREAM, _into_the_transport, lost=True)
    except Exception as error:  # uvicorn may have changed in any way
        StreamProtocol.rehearsed = None
        return repr(error)
    return rehearse_bounds()


def rehearse_bounds() -> str:
    """Allow our bounds on requests if uvicorn behaves as expected.

    Returns:
        A description of the first difference; empty if there is none.
    """
    try:
        for name, requests in _REQUESTS.items():
            _compare(name, requests, _BOUNDED, _through_asgi, lost=False)
        _compare("HTTP/1.1, lost", _REQUESTS["HTTP/1.1"], _BOUNDED, _through_asgi, lost=True)
        for request, expected in _REFUSED.items():
            _refuse(request, *expected)
        _hold_a_body()
        _wait_and_upgrade()
    except Exception as error:  # uvicorn may have changed in any way
        return repr(error)
    return ""


def _refuse(request: bytes, reason: Refusal, expected: bytes) -> None:
    """Raise an error unless a request is refused for this reason, and answered like this."""
    opened, transport = _opened(), Transport()
    protocol = connected(partial(BoundedProtocol, opened=opened), Loop(), transport)
    protocol.data_received(request)
    if opened.meters.refused[reason] != 1 or not transport.written.startswith(expected):
        raise _DiffersError(f"{request[:40]!r} is not refused: {bytes(transport.written[:80])!r}")
    protocol.connection_lost(None)


def _hold_a_body() -> None:
    """Raise an error unless the body of a POST is taken, and no more is read until it is used."""
    opened, transport = _opened(), Transport()
    protocol = connected(partial(BoundedProtocol, opened=opened), Loop(), transport)
    protocol.data_received(_BODY_OF_POST)
    if transport.reading or transport.written:
        raise _DiffersError(f"a body is not held: {bytes(transport.written[:80])!r}")
    protocol.connection_lost(None)


def _wait_and_upgrade() -> None:
    """Raise an error unless a request to upgrade is a request, and connections are counted."""
    opened, loop = _opened(), Loop()
    protocol = connected(partial(BoundedProtocol, opened=opened), loop, Transport())
    waiting = [opened.meters.waiting]
    protocol.data_received(_UPGRADE * 2)
    waiting.append(opened.meters.waiting)
    protocol.connection_lost(None)
    if waiting != [1, 0] or opened.count or loop.begun != ["a request"]:
        raise _DiffersError(f"connections that wait: {waiting}; {loop.begun} of an upgrade")


def _opened() -> OpenConnections:
    bounds = Bounds(max_head_bytes=4096, max_headers=9, head_timeout_s=10.0, max_connections=9)
    return OpenConnections(bounds, Meters(), Spread(sys.maxsize))  # nothing waits


def _compare(
    name: str, requests: list[bytes], our_protocol: Made, our_answer: Way, *, lost: bool
) -> None:
    theirs = _played(HttpToolsProtocol, requests, _through_asgi, lost=lost)
    ours = _played(our_protocol, requests, our_answer, lost=lost)
    for what, expected in theirs.items():
        if ours[what] != expected:
            raise _DiffersError(f"{name}: {what}: {expected!r} through ASGI, {ours[what]!r} by us")


class _DiffersError(Exception):
    """The two protocols left different results."""


Way: TypeAlias = Callable[[Any, "Transport"], dict[str, object]]

_BOUNDED: Made = partial(BoundedProtocol, opened=_opened())
_STREAM: Made = partial(StreamProtocol, opened=_opened())


def _played(
    protocol_class: Made, requests: list[bytes], answer: Way, *, lost: bool
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
    loop, transport = Loop(), Transport()
    protocol = connected(protocol_class, loop, transport)
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
    seen["what was closed"] = transport.calls.count("close")
    seen["what is read"] = transport.reading
    seen["what was begun"] = loop.begun
    if not lost:
        _check_that_it_noticed(protocol, answers_left=len(requests) - 1)
        protocol.connection_lost(None)
    return seen


def _check_that_it_noticed(protocol: HttpToolsProtocol, answers_left: int) -> None:
    """Raise an error if our protocol was not called at the end of a response."""
    if isinstance(protocol, BoundedProtocol) and len(protocol.answering) != answers_left:
        raise _DiffersError(f"after a response, {len(protocol.answering)} are still to be ended")


def _through_asgi(cycle: Any, transport: Transport) -> dict[str, object]:
    if cycle.scope["http_version"] == "1.0":
        # Without this, uvicorn would use the chunked coding, which HTTP/1.0 does not have.
        cycle.chunked_encoding, cycle.expected_content_length = False, len(_PIECE)
    transport.calls.clear()
    _run(cycle.send(_START))
    _run(cycle.send(_BODY))
    # An event stream skips these two calls, so they must do nothing but write.
    return {"calls of the transport": list(transport.calls)}


def _into_the_transport(cycle: Any, transport: Transport) -> dict[str, object]:
    attach = cycle.scope["extensions"][EXTENSION]
    _, offered, head = attach(cycle.send, Events(), _HEADERS, 1, 1.0)
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
