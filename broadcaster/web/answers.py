"""What a node answers at once: the page, its channels, whether it is well, its figures.

`routes` says which of these is at which path, and in which application.
"""

from __future__ import annotations

from importlib import resources
from typing import Any, Protocol

import orjson
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from broadcaster.core.access import Denied, Grant, public
from broadcaster.errors import UnknownChannelError
from broadcaster.web import access, endpoint
from broadcaster.web.problem import unknown_channel

METRICS = "text/plain; version=0.0.4; charset=utf-8"


class Wellbeing(Protocol):
    """Is the node well."""

    def reasons(self) -> list[str]:
        """Why it is not ready, in words of ours; nothing if it is."""

    def report(self, *, details: bool) -> dict[str, Any]:
        """Describe its state."""


class NodeList(Protocol):
    """Which nodes are there."""

    async def nodes(self, *, details: bool) -> dict[str, Any]:
        """List them."""


class Figures(Protocol):
    """What are the figures."""

    async def scrape(self, *, details: bool) -> bytes:
        """Those of this process and its peers."""


class RoutedNode(endpoint.StreamingNode, Protocol):
    """What the answers need of the node besides streams."""

    @property
    def health(self) -> Wellbeing:
        """Knows whether it is well."""

    @property
    def registry(self) -> NodeList:
        """Lists the nodes."""

    @property
    def metrics(self) -> Figures:
        """Has the figures."""

    def start(self) -> None:
        """Begin to work; it may have begun."""

    async def describe(self, channel: str) -> dict[str, Any]:
        """Oldest and newest id, length and path of a channel."""


class Answers:
    """The answers of one application."""

    def __init__(self, node: RoutedNode, *, details: bool) -> None:
        """Prepare.

        Args:
            node: is started by the first answer that needs it.
            details: for operators: with addresses, hosts' names, versions and texts of errors.
        """
        self._node = node
        self._details = details

    async def page(self, _: Request) -> Response:
        """The page that shows the streams."""
        page = resources.files("broadcaster.web") / "pages" / "index.html"
        return HTMLResponse(page.read_text("utf-8"), headers={"cache-control": "no-cache"})

    async def healthz(self, _: Request) -> Response:
        """Whether the process answers."""
        return json({"status": "alive"})

    async def readyz(self, _: Request) -> Response:
        """Whether newcomers should be sent here. Public, so it never has details."""
        self._node.start()
        reasons = self._node.health.reasons()
        if reasons:
            return json({"status": "not ready", "reasons": reasons}, 503)
        return json({"status": "ready"})

    async def health(self, _: Request) -> Response:
        """The state of the node and of each stream; 503 while it is not ready."""
        self._node.start()
        report = self._node.health.report(details=self._details)
        return json(report, 503 if report["reasons"] else 200)

    async def nodes(self, _: Request) -> Response:
        """All nodes that use the same Redis."""
        self._node.start()
        return json(await self._node.registry.nodes(details=self._details))

    async def metrics(self, _: Request) -> Response:
        """The figures for Prometheus."""
        self._node.start()
        headers = {"cache-control": "no-store", "content-type": METRICS}
        figures = await self._node.metrics.scrape(details=self._details)
        return Response(figures, headers=headers)

    async def channels(self, request: Request) -> Response:
        """All channels that the caller may see."""
        names = list(self._node.channels)
        if self._node.policy is not public:
            decisions = await access.described(self._node.policy, request.scope, names)
            names = [name for name in names if isinstance(decisions[name], Grant)]
        return json({"channels": [await self._node.describe(name) for name in names]})

    async def channel(self, request: Request) -> Response:
        """One channel."""
        name = request.path_params["channel"]
        if name not in self._node.channels:
            error = UnknownChannelError(name, self._node.channels)
            return unknown_channel(error, self._node.policy)
        if self._node.policy is not public:
            decisions = await access.described(self._node.policy, request.scope, [name])
            if isinstance(decision := decisions[name], Denied):
                return access.refused(decision)
        return json(await self._node.describe(name))


def json(content: object, status: int = 200) -> Response:
    """A JSON answer that no cache keeps."""
    return Response(
        orjson.dumps(content),
        status,
        headers={"cache-control": "no-store"},
        media_type="application/json",
    )
