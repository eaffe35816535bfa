"""The routes of a node: event streams, what can be asked about channels, health, the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any, Protocol

import orjson
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Match, Route
from starlette.types import Lifespan, Receive, Scope, Send

from broadcaster.settings import Settings
from broadcaster.web import endpoint
from broadcaster.web.problem import problem

METRICS = "text/plain; version=0.0.4; charset=utf-8"
_DAY_S = 86_400


class Registry(Protocol):
    """Which nodes are there."""

    async def nodes(self, *, details: bool) -> dict[str, Any]:
        """List them."""


class Metrics(Protocol):
    """What are the figures."""

    async def scrape(self, *, details: bool) -> bytes:
        """Those of this process and its peers."""


class Node(endpoint.Node, Protocol):
    """What the routes need of the node besides streams."""

    @property
    def registry(self) -> Registry:
        """Lists the nodes."""

    @property
    def metrics(self) -> Metrics:
        """Has the figures."""

    def start(self) -> None:
        """Begin to work; it may have begun."""

    def problems(self) -> list[str]:
        """Why the node is not ready; empty if it is."""

    async def describe(self, channel: str) -> dict[str, Any]:
        """Oldest and newest id, length and path of a channel."""


def json(content: object, status: int = 200) -> Response:
    """A JSON answer that nobody keeps."""
    return Response(
        orjson.dumps(content),
        status,
        headers={"cache-control": "no-store"},
        media_type="application/json",
    )


class Application(Starlette):
    """Starlette, which hands event streams straight to their endpoint.

    Its layers would keep a suspended coroutine each for as long as a client is connected: 3 KB.
    They are only passed through if there is something in them, such as CORS.
    """

    def __init__(self, streams: list[Route], **options: Any) -> None:
        super().__init__(**options)
        self._streams = [] if options["middleware"] else streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http":
            for route in self._streams:
                match, found = route.matches(scope)
                if match is Match.FULL:
                    scope.update(found)
                    await route.app(scope, receive, send)
                    return
        await super().__call__(scope, receive, send)


def application(node: Node, lifespan: Lifespan[Any]) -> Application:
    """Make the ASGI application of a node."""
    endpoints = _Endpoints(node)
    streams = [
        Route(path, endpoint)
        for path, endpoint in endpoint.endpoints(node, node.channels.values()).items()
    ]
    routes = [
        *streams,
        Route("/", endpoints.page),
        Route("/healthz", endpoints.healthz),
        Route("/readyz", endpoints.readyz),
        Route("/metrics", endpoints.metrics),
        Route("/v1/nodes", endpoints.nodes),
        Route("/v1/channels", endpoints.channels),
        Route("/v1/channels/{channel}", endpoints.channel),
    ]
    return Application(
        streams,
        routes=routes,
        middleware=_cors(node.settings),
        exception_handlers={404: _not_found, 405: _not_allowed},
        lifespan=lifespan,
    )


class _Endpoints:
    def __init__(self, node: Node) -> None:
        self._node = node

    async def page(self, _: Request) -> Response:
        page = resources.files("broadcaster.web") / "pages" / "index.html"
        return HTMLResponse(page.read_text("utf-8"), headers={"cache-control": "no-cache"})

    async def healthz(self, _: Request) -> Response:
        return json({"status": "alive"})

    async def readyz(self, _: Request) -> Response:
        problems = self._node.problems()
        if problems:
            return json({"status": "not ready", "reasons": problems}, 503)
        return json({"status": "ready"})

    async def nodes(self, _: Request) -> Response:
        self._node.start()
        return json(await self._node.registry.nodes(details=True))

    async def metrics(self, request: Request) -> Response:
        own_port = self._node.settings.metrics_port
        if own_port and request.scope["server"][1] != own_port:
            return await _not_found(request, None)
        self._node.start()
        headers = {"cache-control": "no-store", "content-type": METRICS}
        return Response(await self._node.metrics.scrape(details=True), headers=headers)

    async def channels(self, _: Request) -> Response:
        return json({"channels": [await self._node.describe(name) for name in self._node.channels]})

    async def channel(self, request: Request) -> Response:
        name = request.path_params["channel"]
        if name not in self._node.channels:
            known = ", ".join(sorted(self._node.channels))
            return problem(404, f"no channel {name[:64]!r}; there are: {known}")
        return json(await self._node.describe(name))


async def _not_found(request: Request, _: Exception | None) -> Response:
    return problem(404, f"nothing is at {request.url.path[:200]!r}; / shows what there is")


async def _not_allowed(_: Request, error: Exception) -> Response:
    headers: Mapping[str, str] | None = getattr(error, "headers", None)
    return problem(405, "this resource is only read", dict(headers or {}))


def _cors(settings: Settings) -> list[Middleware]:
    if not settings.cors_origins:
        return []
    middleware: Callable[..., Any] = CORSMiddleware
    return [
        Middleware(
            middleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET"],
            allow_headers=["Last-Event-ID", "Cache-Control"],
            allow_credentials=settings.cors_credentials,
            max_age=_DAY_S,
        )
    ]
