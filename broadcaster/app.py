"""The composition: settings to an ASGI application."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from broadcaster.node.node import Node
from broadcaster.settings import Settings, load_settings
from broadcaster.web.routes import Application, clients
from broadcaster.web.uvicorn.server import ending_responses_on_signals


def create_app(settings: Settings | None = None) -> Application:
    """Make the hub as an ASGI application.

    To mount it into your own application::

        hub = create_app()
        app = FastAPI(lifespan=hub.router.lifespan_context)
        app.mount("/live", hub)

    Args:
        settings: read from the environment and `BROADCASTER_CONFIG` if not given.

    Returns:
        The application.

        With `metrics_port` set it has none of operators' routes (`/metrics`, `/v1/nodes`,
        `/v1/health`). These are in its attribute `operators`, an ASGI application as well, which
        `broadcaster serve` has on that port. Under another server, serve it on a port of its own.

    Raises:
        ConfigurationError: the settings can't work.
    """
    return make_app(Node(settings or load_settings()))


def make_app(node: Node) -> Application:
    """Make the ASGI application of a node, which its lifespan starts and closes."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[dict[str, Any]]:
        if node.draining:
            raise RuntimeError("this hub was shut down: make another one with create_app()")
        node.start()
        try:
            with ending_responses_on_signals(node.end_responses):
                yield {"node": node}
        finally:
            await node.aclose()

    app = clients(node, lifespan)
    app.state.node = node
    return app
