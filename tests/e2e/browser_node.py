"""A node in a process of its own, for a browser to lose and to find again.

    python browser_node.py REDIS_URL PORT [PREFIX]

With a prefix, it is mounted into another application there, whose page has no slash at its end. The
path of each request goes to stdout.
"""

from __future__ import annotations

import logging
import sys

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from broadcaster.app import create_app
from broadcaster.core.catalogue import DEMO
from broadcaster.settings import load_settings
from broadcaster.web.uvicorn.server import make_server


def mounted(hub: Starlette, prefix: str) -> ASGIApp:
    """Put the hub under a prefix; `PREFIX` is answered like `PREFIX/`, as some proxies do it."""
    outer = Starlette(lifespan=hub.router.lifespan_context, routes=[Mount(prefix, hub)])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == prefix:
            scope["path"] += "/"
        await outer(scope, receive, send)

    return app


def told(app: ASGIApp) -> ASGIApp:
    """Print the path of each request."""

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            print(scope["path"], flush=True)  # noqa: T201
        await app(scope, receive, send)

    return outer


def main(redis_url: str, port: str, prefix: str = "") -> None:
    """Serve until SIGTERM, with a retry time near zero."""
    logging.basicConfig(level=logging.WARNING)
    settings = load_settings(
        redis_url=redis_url,
        port=int(port),
        retry_min_ms=50,
        retry_max_ms=100,
        shed_retry_ms=50,
        terminal_retry_ms=50,
        drain_s=0.1,
        channels=DEMO,
    )
    hub = create_app(settings)
    app = mounted(hub, prefix) if prefix else hub
    drain = hub.state.node.drain
    make_server(told(app), drain, settings, hub.state.node.meters).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
