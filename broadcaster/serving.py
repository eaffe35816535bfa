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
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import click
import orjson

from broadcaster import processes
from broadcaster.app import create_app
from broadcaster.backend.client import connect
from broadcaster.errors import ConfigurationError
from broadcaster.peers import Peers
from broadcaster.settings import PREFIX, Settings
from broadcaster.web.server import Server, make_server

logger = logging.getLogger(__name__)

_BACKLOG = 4096
_STOP_GRACE_S = 10.0
_BACKOFF_S = (0.1, 5.0)
_LONG_LIFE_S = 10.0
_GC_THRESHOLDS = (10_000, 20, 50)


class Child(NamedTuple):
    """What a process of `serve --workers` is told by its parent.

    Attributes:
        process: its number.
        fds: open, listening sockets to serve on.
        directory: where the processes find each other.
    """

    process: int
    fds: list[int]
    directory: str

    @classmethod
    def parse(cls, text: str) -> Child:
        """Read what `str` wrote."""
        return cls(*orjson.loads(text))

    def __str__(self) -> str:
        return orjson.dumps(tuple(self)).decode()


def serve(settings: Settings, config: str | None = None, child: Child | None = None) -> int:
    """Serve until SIGINT or SIGTERM.

    Args:
        settings: of every node.
        config: the configuration file, for the processes to read.
        child: set in the processes of `--workers`.

    Returns:
        The exit status: 0 after a clean stop.

    Raises:
        ConfigurationError: the settings can't work, or the address can't be listened on.
    """
    raise_file_limit()
    if child:
        peers = Peers(Path(child.directory), child.process)
        return _run(node_server(settings, peers), [socket.socket(fileno=fd) for fd in child.fds])
    server = node_server(settings)
    ports = [settings.port, settings.metrics_port] if settings.metrics_port else [settings.port]
    # Each process has a socket of its own on each port.
    groups = list(zip(*(listen(settings.host, p, settings.workers) for p in ports), strict=True))
    many = f" with {len(groups)} processes" if len(groups) > 1 else ""
    click.echo(f"Listening on {url_of(groups[0][0])}{many}. Ctrl-C stops it.")
    if len(groups) == 1:
        return _run(server, list(groups[0]))
    asyncio.run(_supervise(settings, config, groups))
    return 0


def node_server(settings: Settings, peers: Peers | None = None) -> Server:
    """Make the server of a node in this process.

    Args:
        settings: of the node.
        peers: the processes that share its port.

    Raises:
        ConfigurationError: the settings can't work.
    """
    app = create_app(settings)
    if peers:
        app.state.node.observer.peers = peers
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


def calm_garbage_collection() -> None:
    """Let Python look for reference cycles less often, and not among what stays anyway.

    The objects of clients and windows live long, and few are in cycles when they go. With Python's
    own thresholds a quarter of the time of a new connection went into looking at all others again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def _run(server: Server, sockets: list[socket.socket]) -> int:
    calm_garbage_collection()
    server.run(sockets=sockets)
    return 0 if server.started else 1


async def _supervise(
    settings: Settings, config: str | None, sockets: Sequence[Sequence[socket.socket]]
) -> None:
    """Keep a node running on each group of sockets until a signal asks to stop."""
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    port = sockets[0][0].getsockname()[1]
    environment = _environment(settings.model_copy(update={"port": port}), config)
    stop_s = settings.drain_s + _STOP_GRACE_S
    with TemporaryDirectory(prefix="broadcaster-") as directory:
        nodes = []
        for process, group in enumerate(sockets):
            child = Child(process, [sock.fileno() for sock in group], directory)
            nodes.append(asyncio.create_task(_keep(child, environment, stop_s)))
        await stopping.wait()
        for group in sockets:
            for sock in group:
                sock.close()
        for node in nodes:
            node.cancel()
        await asyncio.gather(*nodes, return_exceptions=True)


def _environment(settings: Settings, config: str | None) -> dict[str, str]:
    """What makes a process read the same settings: flags win over the environment.

    Not arguments: other users of the machine could read the url's password there.
    """
    shown = ("redis_url", "log_level", "port")
    ours = {PREFIX + name.upper(): str(getattr(settings, name)) for name in shown}
    if config:
        ours[PREFIX + "CONFIG"] = str(Path(config).resolve())
    return {**os.environ, **ours}


async def _keep(child: Child, environment: dict[str, str], stop_s: float) -> None:
    """Run a node process, and another one when it dies. Cancelling stops it cleanly."""
    wait_s = _BACKOFF_S[0]
    command = [sys.executable, "-P", "-m", "broadcaster", "serve", "--child", str(child)]
    while True:
        started_s = time.monotonic()
        try:
            process = await processes.start(command, env=environment, pass_fds=child.fds)
        except OSError as error:  # no memory, or too many processes: that may pass
            logger.error("node process %d can't be started, trying again: %s", child.process, error)
        else:
            try:
                status = await process.wait()
            finally:
                await processes.stop([process], stop_s)
            logger.error(
                "node process %d %s: starting another", process.pid, processes.how_it_ended(status)
            )
        lived_s = time.monotonic() - started_s
        wait_s = _BACKOFF_S[0] if lived_s > _LONG_LIFE_S else min(wait_s * 2, _BACKOFF_S[1])
        await asyncio.sleep(wait_s)
