"""The routes of a node: event streams, what can be asked about channels, health, the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any, Protocol

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Lifespan, Message, Receive, Scope, Send

from broadcaster.core.channel import KEY_IN_PATH
from broadcaster.errors import InvalidRequestError, UnknownChannelError
from broadcaster.settings import Settings
from broadcaster.web import endpoint, head
from broadcaster.web.problem import problem, unknown_channel

METRICS = "text/plain; version=0.0.4; charset=utf-8"


class NodeList(Protocol):
    """Which nodes are there."""

    async def nodes(self, *, details: bool) -> dict[str, Any]:
        """List them."""


class Figures(Protocol):
    """What are the figures."""

    async def scrape(self, *, details: bool) -> bytes:
        """Those of this process and its peers."""


class RoutedNode(endpoint.StreamingNode, Protocol):
    """What the routes need of the node besides streams."""

    @property
    def registry(self) -> NodeList:
        """Lists the nodes."""

    @property
    def metrics(self) -> Figures:
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


class Paths:
    """Which event stream is at a path.

    The segments are compared as they were sent, so that a key may have a slash in it, as `%2F`.
    """

    def __init__(self, streams: Mapping[str, endpoint.EventStream]) -> None:
        self._plain: dict[tuple[str, ...], endpoint.EventStream] = {}
        self._with_key: list[tuple[list[str], int, endpoint.EventStream]] = []
        for path, stream in streams.items():
            parts = path.split("/")[1:]
            if KEY_IN_PATH in path:
                at = next(n for n, part in enumerate(parts) if KEY_IN_PATH in part)
                self._with_key.append((parts, at, stream))
            else:
                self._plain[tuple(parts)] = stream

    def find(self, segments: list[str]) -> tuple[endpoint.EventStream, str | None] | None:
        """Return the event stream at a path, and the key in it; None if there is none.

        A slash at the end is one too many, and does no harm.
        """
        return self._at(segments) or (self._at(segments[:-1]) if segments[-1:] == [""] else None)

    def _at(self, segments: list[str]) -> tuple[endpoint.EventStream, str | None] | None:
        if found := self._plain.get(tuple(segments)):
            return found, None
        for parts, at, stream in self._with_key:
            if len(parts) == len(segments):
                key = _between(segments[at], *parts[at].split(KEY_IN_PATH))
                if key and segments[:at] == parts[:at] and segments[at + 1 :] == parts[at + 1 :]:
                    return stream, key
        return None


def _between(segment: str, before: str, after: str) -> str:
    """The key in a segment; empty if there is none."""
    if segment.startswith(before) and segment.endswith(after):
        return segment[len(before) : len(segment) - len(after)]
    return ""


class Application(Starlette):
    """Starlette, which hands event streams straight to their endpoint.

    Its layers would keep a suspended coroutine each for as long as a client is connected: 3 KB.
    """

    def __init__(self, node: RoutedNode, **options: Any) -> None:
        super().__init__(**options)
        self._settings = node.settings
        self._paths = Paths(endpoint.endpoints(node, node.channels.values()))
        # A redirect would name the scheme that a proxy has used, and not the client's.
        self.router.redirect_slashes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
        elif head.is_preflight(self._settings, scope):
            await _preflight(self._settings, scope)(scope, receive, send)
        elif found := self._find(scope):
            stream, key = found
            await stream(scope, receive, send, key)
        else:
            cors = head.cors_headers(self._settings, scope)
            await super().__call__(scope, receive, _with_headers(cors, send) if cors else send)

    def _find(self, scope: Scope) -> tuple[endpoint.EventStream, str | None] | None:
        try:
            return self._paths.find(head.segments(scope))
        except InvalidRequestError:  # nothing of ours is there
            return None


def _with_headers(headers: Iterable[tuple[bytes, bytes]], send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *headers]
        await send(message)

    return send_with_headers


def _preflight(settings: Settings, scope: Scope) -> Response:
    headers, refused = head.preflight(settings, scope)
    text = f"Disallowed CORS {', '.join(refused)}" if refused else "OK"
    response = PlainTextResponse(text, 400 if refused else 200)
    response.raw_headers += headers
    return response


def application(node: RoutedNode, lifespan: Lifespan[Any]) -> Application:
    """Make the ASGI application of a node."""
    endpoints = _Endpoints(node)
    routes = [
        Route("/", endpoints.page),
        Route("/healthz", endpoints.healthz),
        Route("/readyz", endpoints.readyz),
        Route("/metrics", endpoints.metrics),
        Route("/v1/nodes", endpoints.nodes),
        Route("/v1/channels", endpoints.channels),
        Route("/v1/channels/{channel}", endpoints.channel),
    ]
    return Application(
        node,
        routes=routes,
        exception_handlers={404: _not_found, 405: _not_allowed},
        lifespan=lifespan,
    )


class _Endpoints:
    def __init__(self, node: RoutedNode) -> None:
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
            return unknown_channel(UnknownChannelError(name, self._node.channels))
        return json(await self._node.describe(name))


async def _not_found(request: Request, _: Exception | None) -> Response:
    return problem(404, f"nothing is at {request.url.path[:200]!r}; / shows what there is")


async def _not_allowed(_: Request, error: Exception) -> Response:
    headers: Mapping[str, str] | None = getattr(error, "headers", None)
    return problem(405, "this resource is only read", dict(headers or {}))
