"""Replies that are not event streams: the page, channels, health, nodes, metrics.

`routes` says which of these is at which path, and in which application.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from broadcaster.core.access.policy import Denied, public
from broadcaster.errors import BroadcasterError, InvalidRequestError, UnknownChannelError
from broadcaster.web import assets, showcase
from broadcaster.web.access.decisions import described
from broadcaster.web.access.issuing import TicketIssuer, ticket
from broadcaster.web.access.visible import visible
from broadcaster.web.documents.served import Documents
from broadcaster.web.logpages import LogPages
from broadcaster.web.operations import watched
from broadcaster.web.problem import SafeResponse, as_json, problem, refused, unknown_channel
from broadcaster.web.publishing.endpoint import publish
from broadcaster.web.runs import endpoint as runs
from broadcaster.web.serving import ServedNode
from broadcaster.web.statepages import StatePages

METRICS = "text/plain; version=0.0.4; charset=utf-8"


class Replies:
    """The replies of one application."""

    def __init__(
        self, node: ServedNode, documents: Documents, about: showcase.About, *, details: bool
    ) -> None:
        """Answer for a node.

        Args:
            node: the node to describe. The first answer that needs it starts it.
            documents: of the application.
            about: the facts about the hub that its page shows.
            details: True includes addresses, host names, versions and error texts, which are for
                operators.
        """
        self._node = node
        self._documents = documents
        self._about = about
        self._details = details
        self._pages = LogPages(node)
        self._states = StatePages(node)

    async def page(self, request: Request) -> Response:
        """Answer with the page that shows the streams, and how the nodes are.

        It names the Redis and has a token only where `app.state` has them, as in the demo.
        """
        state = request.app.state
        about = self._about._replace(
            token=hasattr(state, "page_token"), redis=getattr(state, "shown_redis_url", "")
        )
        return showcase.page(request, about)

    async def module(self, request: Request) -> Response:
        """Answer with a module of the page."""
        return showcase.module(request, request.path_params["name"])

    async def page_token(self, request: Request) -> Response:
        """Answer with a token to publish with, for the page of the demo, or 404.

        No other site may have it. A browser says itself which page asks, and no page can change
        what it says. https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header
        """
        make: Callable[[], str] | None = getattr(request.app.state, "page_token", None)
        if make is None:
            return problem(404, "this hub makes no tokens for its page")
        if request.headers.get("sec-fetch-site") != "same-origin":
            return problem(403, "this token is for the page of this hub")
        return as_json({"token": make()})

    async def script(self, request: Request) -> Response:
        """Answer with the client for browsers, or with its hooks for React."""
        name = request.scope["path"].rpartition("/")[2]
        return assets.sent(assets.script(f"scripts/{name}"), request)

    async def openapi(self, request: Request) -> Response:
        """Answer with the OpenAPI document."""
        return await self._documents.openapi(request)

    async def asyncapi(self, request: Request) -> Response:
        """Answer with the AsyncAPI document."""
        return await self._documents.asyncapi(request)

    async def docs(self, request: Request) -> Response:
        """Answer with the page that shows the OpenAPI document."""
        return await self._documents.page(request)

    async def healthz(self, _: Request) -> Response:
        """Answer 200, which shows that the process is alive."""
        return as_json({"status": "alive"})

    async def readyz(self, _: Request) -> Response:
        """Answer 200 if a balancer may send newcomers here, else 503.

        The path is public, so the answer never has details.
        """
        self._node.start()
        reasons = self._node.health.reasons()
        if reasons:
            return as_json({"status": "not ready", "reasons": reasons}, 503)
        return as_json({"status": "ready"})

    async def health(self, _: Request) -> Response:
        """Answer with the state of the node and of each stream. The status is 503 if not ready."""
        self._node.start()
        report = self._node.health.report(details=self._details)
        return as_json(report, 503 if report["reasons"] else 200)

    async def nodes(self, _: Request) -> Response:
        """Answer with all nodes that use the same Redis."""
        self._node.start()
        return as_json(await self._node.registry.nodes(details=self._details))

    async def metrics(self, _: Request) -> Response:
        """Answer with the metrics, for Prometheus."""
        self._node.start()
        headers = {"cache-control": "no-store", "content-type": METRICS}
        figures = await self._node.metrics.scrape(details=self._details)
        return SafeResponse(figures, headers=headers)

    async def operations(self, request: Request) -> Response:
        """Answer with the event stream of the nodes' figures."""
        self._node.start()
        return watched(self._node, request.method, details=self._details)

    async def revoke(self, request: Request) -> Response:
        """Revoke the tokens of a subject, or one by its id, and say how many replicas have it."""
        if {"origin", "sec-fetch-site"} & set(request.headers.keys()):
            return problem(403, "no page of a browser may revoke tokens")
        self._node.start()
        name = request.query_params.get("name", "")
        try:
            done = await self._node.revoking.revoke(name)
        except InvalidRequestError as error:
            return problem(400, str(error))
        except BroadcasterError as error:
            return problem(503, str(error))
        return as_json({"revoked": name, "id": str(done.id), "replicas": done.replicas})

    async def ticket(self, request: Request) -> Response:
        """Answer with a ticket for the bearer of a token, or 404 if this hub has none."""
        issuer: object = self._node.verifier
        if not isinstance(issuer, TicketIssuer):
            return problem(404, "this hub has no tickets: no key of tokens is set")
        query = request.query_params
        names = [name for value in query.getlist("channel") for name in value.split(",")]
        found = await ticket(issuer, request.scope, names, query.getlist("key"))
        if isinstance(found, Denied):
            return refused(found)
        return as_json({"ticket": found.text, "expires_in_s": round(found.lives_s)})

    async def channels(self, request: Request) -> Response:
        """Answer with a description of every channel that the caller may see."""
        names = await visible(self._node, request.scope)
        if isinstance(names, Denied):
            return refused(names)
        return as_json({"channels": [await self._node.describe(name) for name in names]})

    async def channel(self, request: Request) -> Response:
        """Answer with a description of one channel, or 404."""
        name = request.path_params["channel"]
        listed = {one: c for one, c in self._node.settings.channels.items() if c.listed}
        if name not in listed:
            error = UnknownChannelError(name, listed)
            return unknown_channel(error, self._node.policy)
        if self._node.policy is not public:
            refusals = await described(self._node, request.scope, [name])
            refusal = refusals if isinstance(refusals, Denied) else refusals[name]
            if refusal is not None:
                return refused(refusal)
        return as_json(await self._node.describe(name))

    async def log_page(self, request: Request) -> Response:
        """Answer with a page of the log of a channel."""
        return await self._pages(request)

    async def run(self, request: Request) -> Response:
        """Answer with the state of a run."""
        return await runs.state(self._node, request)

    async def stop(self, request: Request) -> Response:
        """Stop a run, and answer with its state."""
        return await runs.stop(self._node, request)

    async def state(self, request: Request) -> Response:
        """Answer with the state of a channel."""
        return await self._states(request)

    async def publish(self, request: Request) -> Response:
        """Publish events, and answer with their ids."""
        return await publish(self._node, request, request.path_params["channel"])
