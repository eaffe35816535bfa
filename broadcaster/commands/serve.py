"""`broadcaster serve`: runs one node in this process, or several processes that share a port."""

from __future__ import annotations

import asyncio
import logging
import socket

from broadcaster.app import Application, make_node
from broadcaster.backend.driver.connect import connect
from broadcaster.commands.host import calm_garbage_collection, listen, raise_file_limit, url_of
from broadcaster.commands.output import say
from broadcaster.commands.supervisor import Child, supervise
from broadcaster.core.access.by_access import is_public
from broadcaster.core.access.policy import Policy
from broadcaster.node.peers import Peers
from broadcaster.settings import Settings
from broadcaster.web.hosts import is_loopback, with_default_hosts
from broadcaster.web.uvicorn.server import ByPort, Server, make_server

logger = logging.getLogger(__name__)


def serve(settings: Settings, config: str | None = None, child: Child | None = None) -> int:
    """Serve until SIGINT, SIGTERM or SIGHUP.

    Args:
        settings: the settings of every node.
        config: path of the configuration file, which the child processes read.
        child: given only in the child processes of `--workers`.

    Returns:
        The exit status: 0 after a clean stop.

    Raises:
        ConfigurationError: the settings can't work, or the address can't be listened on.
    """
    raise_file_limit()
    if child:
        peers = Peers(child.place, child.process, child.members)
        return _run(node_server(settings, peers), [socket.socket(fileno=fd) for fd in child.fds])
    server = node_server(settings)
    ports = [settings.port, settings.metrics_port] if settings.metrics_port else [settings.port]
    # Each process has a socket of its own on each port.
    groups = list(zip(*(listen(settings.host, p, settings.workers) for p in ports), strict=True))
    many = f" with {len(groups)} processes" if len(groups) > 1 else ""
    url = url_of(groups[0][0], secure=bool(settings.tls_certificate))
    say(f"Listening on {url}{many}. Ctrl-C stops it.")
    if len(groups) == 1:
        return _run(server, list(groups[0]))
    asyncio.run(supervise(settings, config, groups))
    return 0


def node_server(settings: Settings, peers: Peers | None = None) -> Server:
    """Make the server of a node in this process.

    Args:
        settings: the settings of the node.
        peers: the processes that share its port.

    Raises:
        ConfigurationError: the settings can't work.
    """
    settings = with_default_hosts(settings)
    node = make_node(settings, peers=peers)
    if peers is None:
        _warn_of_public_channels(settings, node.policy)
    connect(settings.redis_url)  # sends nothing, but raises if the url is not valid
    level = "debug" if settings.log_level == "debug" else "warning"
    app = Application(node)
    served = ByPort(app, app.operators, settings.metrics_port) if settings.metrics_port else app
    return make_server(served, node.drain, settings, node.meters, log_level=level)


def _warn_of_public_channels(settings: Settings, policy: Policy) -> None:
    names = [name for name in settings.channels if is_public(policy, name)]
    if names and not is_loopback(settings.host):
        logger.warning(
            'every machine that reaches %s can read %s: set access = "token" for what is private',
            settings.host,
            ", ".join(names),
        )


def _run(server: Server, sockets: list[socket.socket]) -> int:
    calm_garbage_collection()
    server.run(sockets=sockets)
    return 0 if server.started else 1
