"""Running a node under uvicorn: our protocol, and a drain before uvicorn's own shutdown.

uvicorn waits for open responses *before* it ends the lifespan, and an event stream never ends by
itself: so the streams are ended first.
"""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp

logger = logging.getLogger(__name__)

_GRACE_S = 5
_BACKLOG = 4096


class Server(uvicorn.Server):
    """uvicorn, which drains the streams before it shuts down, and then exits with status 0."""

    def __init__(self, config: uvicorn.Config, drain: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._drain = drain

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then let uvicorn close connections and end the lifespan."""
        await self._drain()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but a signal that asks for a clean exit is not raised again afterwards:
        the exit was clean, and status 0 says so."""
        with super().capture_signals():
            yield
            self._captured_signals.clear()


def make_server(
    app: ASGIApp, drain: Callable[[], Awaitable[None]], *, host: str, port: int, log_level: str
) -> Server:
    """Make a server for a node's application."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=_http(),
        ws="none",
        lifespan="on",
        access_log=False,
        log_level=log_level,
        log_config=None,
        server_header=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=_GRACE_S,
    )
    return Server(config, drain)


def _http() -> Any:
    try:
        from broadcaster.web.protocol import StreamProtocol
    except (ImportError, AttributeError) as error:
        logger.warning("uvicorn's httptools protocol can't be extended, ASGI is used: %s", error)
        return "auto"
    return StreamProtocol


@contextmanager
def ending_streams_on_signals(end_streams: Callable[[], object]) -> Iterator[None]:
    """End the streams when the process is asked to exit, before whoever asked first acts on it.

    For servers that are not ours: uvicorn, for one, would wait for open streams for ever. Outside
    the main thread, where no signal handler can be set, it does nothing.
    """
    previous: dict[int, Any] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        end_streams()
        if callable(previous[number]):
            previous[number](number, frame)

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            # Only where a server has a handler of its own: else the default must end the process.
            if callable(handler := signal.getsignal(number)):
                previous[number] = handler
                signal.signal(number, handle)
    except ValueError:  # not the main thread
        previous.clear()
    try:
        yield
    finally:
        for number, before in previous.items():
            if signal.getsignal(number) is handle:
                signal.signal(number, before)
