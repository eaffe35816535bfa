"""A node in a process of its own, for a browser to lose and to find again."""

from __future__ import annotations

import logging
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TextIO

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from broadcaster.app import create_app
from broadcaster.core.catalogue import DEMO
from broadcaster.settings import load_settings
from broadcaster.web.uvicorn.server import make_server
from tests.forks import FORKS


def mounted(hub: Starlette, prefix: str) -> ASGIApp:
    """Put the hub under a prefix; `PREFIX` is answered like `PREFIX/`, as some proxies do it."""
    outer = Starlette(lifespan=hub.router.lifespan_context, routes=[Mount(prefix, hub)])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == prefix:
            scope["path"] += "/"
        await outer(scope, receive, send)

    return app


def told(app: ASGIApp, paths: TextIO) -> ASGIApp:
    """Write the path of each request."""

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            print(scope["path"], file=paths, flush=True)
        await app(scope, receive, send)

    return outer


def start(redis_url: str, port: int, prefix: str, paths: Path) -> BaseProcess:
    """Start a node.

    Args:
        redis_url: of its Redis.
        port: where it listens.
        prefix: where it is mounted into another application, whose page has no slash at its end;
            empty where it is not.
        paths: the path of each request is added to this file.
    """
    process = FORKS.Process(target=_serve, args=(redis_url, port, prefix, paths))
    process.start()
    return process


def _serve(redis_url: str, port: int, prefix: str, paths: Path) -> None:
    """Serve until SIGTERM, with a retry time near zero."""
    logging.basicConfig(level=logging.WARNING)
    settings = load_settings(
        redis_url=redis_url,
        port=port,
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
    with paths.open("a") as written:
        make_server(told(app, written), drain, settings, hub.state.node.meters).run()
