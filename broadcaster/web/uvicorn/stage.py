"""The stage of `rehearsal`: an event loop and a transport that only record their use."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

Made: TypeAlias = Callable[..., HttpToolsProtocol]


def connected(protocol_class: Made, loop: Loop, transport: Transport) -> HttpToolsProtocol:
    """Return a protocol that has just got its transport."""
    state = ServerState()
    state.default_headers = [(b"date", b"now")]
    config = uvicorn.Config(
        _no_application,
        http=HttpToolsProtocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level=None,
    )
    protocol = protocol_class(config, state, {}, cast("Any", loop))
    protocol.connection_made(cast("Any", transport))
    return protocol


async def _no_application(scope: Any, receive: Any, send: Any) -> None:
    raise NotImplementedError


class Events:
    """Transport callbacks that do nothing."""

    def pause_writing(self) -> None:
        return

    def resume_writing(self) -> None:
        return

    def connection_lost(self, error: Exception | None) -> None:
        return


class Loop:
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


class Transport:
    """A transport that records calls. A call that it lacks shows a change in uvicorn."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.written = bytearray()
        self.reading = True

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
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("close")

    def write_eof(self) -> None:
        self.calls.append("write_eof")
