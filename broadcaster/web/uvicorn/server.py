"""Runs a node under uvicorn, with our protocol, and drains it before uvicorn shuts down.

uvicorn waits for open responses *before* it ends the lifespan, but an event stream never ends by
itself. So the responses are ended first. The end of the lifespan then closes the node.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from types import FrameType
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from broadcaster.core.counters import Meters
from broadcaster.settings import Settings
from broadcaster.web.ticks import tick
from broadcaster.web.uvicorn import BACKLOG
from broadcaster.web.uvicorn.certificate import Certificate
from broadcaster.web.uvicorn.open_connections import Bounds, OpenConnections
from broadcaster.web.uvicorn.tls import TlsConnection

logger = logging.getLogger(__name__)

_GRACE_S = 5
_TICK_S = 0.1


class Server(uvicorn.Server):
    """A uvicorn server that drains the node before it shuts down, and then exits with status 0."""

    def __init__(
        self,
        config: uvicorn.Config,
        drain: Callable[[], Awaitable[None]],
        opened: OpenConnections,
        certificate: Certificate | None = None,
    ) -> None:
        super().__init__(config)
        self.opened = opened
        self._certificate = certificate
        self._drain = drain

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal comes, and close connections that send no request in time."""
        watching = [asyncio.create_task(self.opened.watch())]
        if self._certificate:
            watching.append(asyncio.create_task(self._certificate.watch()))
        try:
            await super().serve(sockets)
        finally:
            for task in watching:
                task.cancel()

    async def main_loop(self) -> None:
        """Do as uvicorn's own loop does, in the wake-ups that a node has anyway."""
        for counter in count():
            if await self.on_tick(counter):
                return
            await tick(_TICK_S)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the responses, then let uvicorn close connections and end the lifespan."""
        drain = asyncio.ensure_future(self._drain())
        while not drain.done() and not self.force_exit:  # a second Ctrl-C
            await asyncio.wait([drain], timeout=_TICK_S)
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals as uvicorn does, but do not raise them again after a clean exit.

        So the process ends with status 0. SIGHUP asks for a clean exit too.
        """
        with super().capture_signals(), _on_hangup(self.handle_exit):
            yield
            getattr(self, "_captured_signals", []).clear()


@contextmanager
def _on_hangup(handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """Call a handler on SIGHUP.

    If SIGHUP is ignored, it stays ignored: the process runs under `nohup` and must go on.
    """
    number = getattr(signal, "SIGHUP", None)
    in_main = threading.current_thread() is threading.main_thread()
    if number is None or not in_main or signal.getsignal(number) is signal.SIG_IGN:
        yield
        return
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


class ByPort:
    """An ASGI application that chooses the application by the port of the connection.

    The port is that of the server's own socket, so a client can't fake it.
    """

    def __init__(self, clients: ASGIApp, operators: ASGIApp, operators_port: int) -> None:
        self._clients = clients
        self._operators = operators
        self._port = operators_port

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer a request.

        Not `async`, because a coroutine would stay suspended while a client is connected.
        """
        server = scope.get("server") or ("", None)
        app = self._operators if server[1] == self._port else self._clients
        return app(scope, receive, send)


def make_server(
    app: ASGIApp,
    drain: Callable[[], Awaitable[None]],
    settings: Settings,
    meters: Meters,
    *,
    log_level: str = "warning",
) -> Server:
    """Make a server for a node's application.

    Args:
        app: the application; a `ByPort` if there are two ports.
        drain: ends the node's responses, and returns when all have ended.
        settings: the bounds of connections and requests. Also the address to listen on, unless
            `serve` is given sockets.
        meters: counts connections that wait, and those that are refused.
        log_level: level of uvicorn's own log lines.

    Raises:
        ConfigurationError: the certificate can't be used.
    """
    opened = OpenConnections(Bounds.of(settings), meters)
    certificate = Certificate.of(settings)
    config = uvicorn.Config(
        app,
        interface="asgi3",
        host=settings.host,
        port=settings.port,
        http=_http(opened, certificate),
        ws="none",
        lifespan="on",
        access_log=False,
        log_level=log_level,
        log_config=None,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=cast("int", settings.keep_alive_s),  # for `call_later`
        timeout_graceful_shutdown=_GRACE_S,
    )
    return Server(config, drain, opened, certificate)


def _http(opened: OpenConnections, certificate: Certificate | None) -> Any:
    """Return the protocol of new connections."""
    protocol = _protocol(opened)
    if certificate is None:
        return protocol
    if protocol == "auto":  # the name of uvicorn's own
        from uvicorn.protocols.http.auto import AutoHTTPProtocol

        protocol = AutoHTTPProtocol
    return partial(TlsConnection, protocol, certificate, opened)


def _protocol(opened: OpenConnections) -> Any:
    """Return the protocol that uses as much of uvicorn's internals as `rehearsal` approves."""
    try:
        from broadcaster.web.uvicorn.protocol import StreamProtocol
        from broadcaster.web.uvicorn.rehearsal import rehearse

        changed = rehearse()
    except Exception as error:  # at import too, because uvicorn may have changed in any way
        changed = repr(error)
    if not changed:
        return partial(StreamProtocol, opened=opened)
    logger.warning("uvicorn has changed, so streams go through ASGI: %s", changed)
    return _bounded(opened)


def _bounded(opened: OpenConnections) -> Any:
    try:
        from broadcaster.web.uvicorn.bounded import BoundedProtocol
        from broadcaster.web.uvicorn.rehearsal import rehearse_bounds

        changed = rehearse_bounds()
    except Exception as error:
        changed = repr(error)
    if not changed:
        return partial(BoundedProtocol, opened=opened)
    logger.warning("requests have no bounds, so let clients reach a balancer only: %s", changed)
    return "auto"


@contextmanager
def ending_responses_on_signals(end_responses: Callable[[], object]) -> Iterator[None]:
    """End the responses when the process is asked to exit, before the server acts on it.

    This is for servers that are not ours. Plain uvicorn, for example, would wait for open responses
    for ever. Outside the main thread no signal handler can be set, and this does nothing.
    """
    loop = asyncio.get_running_loop()
    previous: dict[int, Callable[[int, FrameType | None], Any]] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(end_responses)  # not in the middle of other code
        previous[number](number, frame)

    if threading.current_thread() is threading.main_thread():
        previous = _handlers_of_other_servers()
    for number in previous:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, before in previous.items():
            if signal.getsignal(number) is handle:
                signal.signal(number, before)


def _handlers_of_other_servers() -> dict[int, Callable[[int, FrameType | None], Any]]:
    found: dict[int, Callable[[int, FrameType | None], Any]] = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        handler = signal.getsignal(number)
        # If no server has set a handler, keep the default action.
        if callable(handler) and not isinstance(getattr(handler, "__self__", None), Server):
            found[number] = handler
    return found
