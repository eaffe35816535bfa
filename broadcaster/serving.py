"""Running nodes: the listening socket, one node in this process, or several that share the port.

Several nodes are processes of their own, which a small parent starts, replaces when they die, and
stops. On Linux each has its own listening socket on the port (SO_REUSEPORT), so that the kernel
spreads clients evenly; the parent keeps all of them open, so that clients of a node that is being
replaced wait instead of being refused. uvicorn has a supervisor too, but hands its server to the
processes by pickling, which ours, with a node in it, does not survive.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import click

from broadcaster import processes
from broadcaster.app import create_app
from broadcaster.backend.client import connect
from broadcaster.errors import ConfigurationError
from broadcaster.settings import PREFIX, Settings
from broadcaster.web.server import Server, make_server

logger = logging.getLogger(__name__)

_BACKLOG = 4096
_STOP_GRACE_S = 10.0
_BACKOFF_S = (0.1, 5.0)
_LONG_LIFE_S = 10.0


def serve(settings: Settings, config: str | None = None, fd: int | None = None) -> int:
    """Serve until SIGINT or SIGTERM.

    Args:
        settings: of every node.
        config: the configuration file, for the processes to read.
        fd: an open, listening socket to serve on, in this process.

    Returns:
        The exit status: 0 after a clean stop.

    Raises:
        ConfigurationError: the settings can't work, or the address can't be listened on.
    """
    raise_file_limit()
    server = node_server(settings)
    if fd is not None:
        return _run(server, socket.socket(fileno=fd))
    sockets = listen(settings.host, settings.port, settings.workers)
    many = f" with {len(sockets)} processes" if len(sockets) > 1 else ""
    click.echo(f"Listening on {url_of(sockets[0])}{many}. Ctrl-C stops it.")
    if len(sockets) == 1:
        return _run(server, sockets[0])
    asyncio.run(_supervise(settings, config, sockets))
    return 0


def node_server(settings: Settings) -> Server:
    """Make the server of a node in this process.

    Raises:
        ConfigurationError: the settings can't work.
    """
    app = create_app(settings)
    connect(settings.redis_url)  # sends nothing, but refuses a url that can't be used
    level = "debug" if settings.log_level == "debug" else "warning"
    return make_server(
        app, app.state.node.drain, host=settings.host, port=settings.port, log_level=level
    )


def listen(host: str, port: int, count: int = 1) -> list[socket.socket]:
    """Listen on an address, so that clients can connect from now on.

    Args:
        host: a name or an address.
        port: 0 takes a free one.
        count: sockets to return, all on the same port.

    Raises:
        ConfigurationError: somebody else listens there, or it is not an address of ours.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        first = _bind(family, address[:2], shared=False)
        if count == 1:
            return [first]
        if sys.platform != "linux":
            return [first, *(first.dup() for _ in range(count - 1))]
        # The first socket has shown that nobody else is there: with SO_REUSEPORT another hub of
        # this user would not be noticed.
        address = first.getsockname()[:2]
        first.close()
        return [_bind(family, address, shared=True) for _ in range(count)]
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(_why_not(error, host, port)) from error


def _bind(family: int, address: tuple[Any, ...], *, shared: bool) -> socket.socket:
    both = address[0] == "::" and socket.has_dualstack_ipv6()
    return socket.create_server(
        address,
        family=family,
        backlog=_BACKLOG,
        reuse_port=shared,
        dualstack_ipv6=both,
    )


def _why_not(error: Exception, host: str, port: int) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return (
            f"port {port} of {host} is in use: stop what listens there, or choose another port "
            f"with --port (0 takes a free one)"
        )
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM):
        return f"port {port} is not ours to take: ports below 1024 want rights; try --port 8000"
    return f"can't listen on {host!r}, port {port}: {error}"


def url_of(sock: socket.socket) -> str:
    """The url under which this machine reaches a listening socket."""
    host, port = sock.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def raise_file_limit() -> None:
    """Allow this process as many open files as it may have: each client is one.

    The soft limit is low (often 1024) only for programs that call select(2).
    """
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError) as error:  # macOS calls it unlimited, and means less
        logger.debug("the limit of open files stays %d: %s", soft, error)


def _run(server: Server, sock: socket.socket) -> int:
    server.run(sockets=[sock])
    return 0 if server.started else 1


async def _supervise(settings: Settings, config: str | None, sockets: list[socket.socket]) -> None:
    """Keep a node running on each socket until a signal asks to stop."""
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    environment = _environment(settings, config)
    stop_s = settings.drain_s + _STOP_GRACE_S
    nodes = [asyncio.create_task(_keep(sock, environment, stop_s)) for sock in sockets]
    await stopping.wait()
    for sock in sockets:
        sock.close()
    for node in nodes:
        node.cancel()
    await asyncio.gather(*nodes, return_exceptions=True)


def _environment(settings: Settings, config: str | None) -> dict[str, str]:
    """What makes a process read the same settings: flags win over the environment.

    Not arguments: other users of the machine could read the url's password there.
    """
    shown = ("redis_url", "log_level")
    ours = {PREFIX + name.upper(): str(getattr(settings, name)) for name in shown}
    if config:
        ours[PREFIX + "CONFIG"] = str(Path(config).resolve())
    return {**os.environ, **ours}


async def _keep(sock: socket.socket, environment: dict[str, str], stop_s: float) -> None:
    """Run a node on a socket, and another one when it dies. Cancelling stops it cleanly."""
    fd, wait_s = sock.fileno(), _BACKOFF_S[0]
    command = [sys.executable, "-P", "-m", "broadcaster", "serve", "--fd", str(fd)]
    while True:
        started_s = time.monotonic()
        process = await processes.start(command, env=environment, pass_fds=[fd])
        try:
            status = await process.wait()
        finally:
            await processes.stop([process], stop_s)
        lived_s = time.monotonic() - started_s
        wait_s = _BACKOFF_S[0] if lived_s > _LONG_LIFE_S else min(wait_s * 2, _BACKOFF_S[1])
        logger.error(
            "node process %d %s: starting another", process.pid, processes.how_it_ended(status)
        )
        await asyncio.sleep(wait_s)
