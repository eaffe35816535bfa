"""Prepares this machine's resources: sockets, signals, open files, garbage collection."""

from __future__ import annotations

import errno
import gc
import logging
import signal
import socket
import sys
from typing import Any

from broadcaster.errors import ConfigurationError
from broadcaster.web.uvicorn import BACKLOG

logger = logging.getLogger(__name__)

_GC_THRESHOLDS = (10_000, 20, 50)


def listen(host: str, port: int, count: int = 1) -> list[socket.socket]:
    """Listen on an address, so that clients can connect from now on.

    Args:
        host: a host name or an address.
        port: a port; 0 takes a free one.
        count: number of sockets to return, all on the same port.

    Raises:
        ConfigurationError: another process listens there, or this machine lacks that address.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        first = _bind(family, address[:2], shared=False)
        if count == 1:
            return [first]
        if sys.platform != "linux":
            return [first, *(first.dup() for _ in range(count - 1))]
        # The first socket was bound without SO_REUSEPORT to prove that the port is free. With it,
        # another hub of the same user on this port would go unnoticed.
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
        backlog=BACKLOG,
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
        return f"port {port} is not allowed: ports below 1024 need privileges; try --port 8000"
    return f"can't listen on {host!r}, port {port}: {error}"


def url_of(sock: socket.socket, *, secure: bool = False) -> str:
    """Return the url at which this machine reaches a listening socket.

    Args:
        sock: that listens.
        secure: True if it speaks TLS.
    """
    scheme = "https" if secure else "http"
    host, port = sock.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def stop_signals() -> list[signal.Signals]:
    """Return the signals that stop a serving command.

    SIGHUP means that the terminal is gone. If it is ignored, as under `nohup`, it stays ignored.
    """
    found = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        found.append(signal.SIGHUP)
    return found


def raise_file_limit() -> None:
    """Raise the limit of open files to the hard limit, because each client is an open file.

    The soft limit is low, often 1024, only for programs that call select(2).
    """
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError) as error:  # macOS says unlimited, but allows less
        logger.debug("the limit of open files stays %d: %s", soft, error)


def calm_garbage_collection() -> None:
    """Make Python's garbage collections rare, and exclude the objects that exist now.

    Objects of clients and windows live long, and few of them end in reference cycles. With Python's
    default thresholds, collections took a quarter of the time of each new connection.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
