"""Answers with documents: each caller sees the channels that it may see, and no others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial

import orjson
from starlette.requests import Request
from starlette.responses import Response

from broadcaster.core.access.by_access import is_public
from broadcaster.core.access.policy import Denied, public
from broadcaster.web.access.issuing import TicketIssuer
from broadcaster.web.access.visible import visible
from broadcaster.web.assets import Asset, asset_of, sent
from broadcaster.web.documents.asyncapi import asyncapi
from broadcaster.web.documents.components import DataSchemas
from broadcaster.web.documents.openapi import openapi
from broadcaster.web.documents.operation import Json, Operations
from broadcaster.web.documents.page import POLICY, page
from broadcaster.web.documents.view import View
from broadcaster.web.problem import refused
from broadcaster.web.serving import ServedNode

_MOST_KEPT = 64


class Documents:
    """The documents of one application. Callers that see the same channels share them."""

    def __init__(self, node: ServedNode, operations: Operations, *, channels: bool = True) -> None:
        """Store the arguments.

        Args:
            node: that is described.
            operations: of the application.
            channels: the application serves channels.
        """
        self._node = node
        self._operations = operations
        self._channels = channels
        self._kept: dict[tuple[object, ...], Asset] = {}

    def document(self, channels: Collection[str] | None = None) -> Json:
        """Return the OpenAPI document for all callers.

        Args:
            channels: the names of those that it shows; None means all that are listed and public.

        Raises:
            UnknownChannelError: one of them does not exist.
        """
        known = self._node.settings.channels
        if channels is None:
            public_ones = partial(is_public, self._node.policy)
            channels = [name for name in known if known[name].listed and public_ones(name)]
        names = [known.channel(name).name for name in channels]
        return openapi(self._view(names, self._data(names)))

    async def openapi(self, request: Request) -> Response:
        """Answer with the OpenAPI document."""
        return await self._answer(request, _openapi, "application/json")

    async def asyncapi(self, request: Request) -> Response:
        """Answer with the AsyncAPI document."""
        return await self._answer(request, _asyncapi, "application/json")

    async def page(self, request: Request) -> Response:
        """Answer with the page that shows the OpenAPI document."""
        origin = f"{request.url.scheme}://{request.url.netloc}"  # for the examples
        answer = await self._answer(request, _page, "text/html", origin)
        answer.headers["content-security-policy"] = POLICY
        return answer

    async def _answer(
        self, request: Request, make: Callable[[View], bytes], media_type: str, origin: str = ""
    ) -> Response:
        names = await visible(self._node, request.scope) if self._channels else []
        if isinstance(names, Denied):
            return refused(names)
        prefix = request.scope.get("root_path", "")
        asset = self._made(make, media_type, names, prefix, origin)
        headers = {}
        if self._node.policy is not public:
            headers["cache-control"] = "private, no-cache"
            headers["vary"] = "Accept-Encoding, Authorization, Cookie"
        return sent(asset, request, headers)

    def _made(
        self,
        make: Callable[[View], bytes],
        media_type: str,
        names: Collection[str],
        prefix: str,
        origin: str,
    ) -> Asset:
        """Return a document. It is made once for all callers that see the same channels."""
        data = self._data(names)
        key = make, tuple(names), prefix, origin, orjson.dumps(data)
        if key not in self._kept:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            view = replace(self._view(names, data), prefix=prefix, origin=origin)
            self._kept[key] = asset_of(make(view), media_type)
        return self._kept[key]

    def _data(self, names: Collection[str]) -> dict[str, DataSchemas]:
        schemas = self._node.schemas
        return {name: schemas.documents(name) for name in names} if schemas else {}

    def _view(self, names: Collection[str], data: Mapping[str, DataSchemas]) -> View:
        settings, policy = self._node.settings, self._node.policy
        return View(
            self._operations,
            tuple(settings.channels[name] for name in names),
            data,
            open=frozenset(name for name in names if is_public(policy, name)),
            tokens=self._node.verifier is not None,
            tickets=isinstance(self._node.verifier, TicketIssuer),
            cookie=settings.token_cookie,
            operators_token=bool(settings.operators_token),
            guarded=policy is not public,
        )


def _asyncapi(view: View) -> bytes:
    return orjson.dumps(asyncapi(view))


def _page(view: View) -> bytes:
    return page(openapi(view), view.origin + view.prefix).encode()


def _openapi(view: View) -> bytes:
    return orjson.dumps(openapi(view))
