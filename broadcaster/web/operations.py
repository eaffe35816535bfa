"""The event stream of the page's part for operators: all nodes' figures, once a second."""

from __future__ import annotations

import random

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broadcaster.core import sse
from broadcaster.core.wire import Shed
from broadcaster.web import head
from broadcaster.web.asgi_sink import AsgiSink
from broadcaster.web.problem import EVENT_STREAM, come_back, event_stream
from broadcaster.web.serving import ServedNode

MOST_VIEWERS = 100
"""The most of these event streams that a node has at a time."""


def watched(node: ServedNode, method: str, *, details: bool) -> Response:
    """Return the event stream, or one that ends at once and says when to come back."""
    if method == "HEAD":
        return event_stream(b"")
    reason = Shed.DRAINING if node.draining else None
    if len(node.operations.viewers) >= MOST_VIEWERS:
        reason = Shed.FULL
    if reason:
        mean_ms = node.settings.shed_retry_ms
        return come_back(random.randint(mean_ms // 2, mean_ms * 3 // 2), reason)
    return OperationsStream(node, details=details)


class OperationsStream(Response):
    """Sends what is kept, and then each look, until the client or the node goes."""

    def __init__(self, node: ServedNode, *, details: bool) -> None:
        """Watch a node. Nothing is sent yet."""
        super().__init__()
        self._node = node
        self._details = details

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        node, settings = self._node, self._node.settings
        headers = [*EVENT_STREAM, *head.kept_alive(scope)]
        sink = AsgiSink(receive, send, headers, settings.send_timeout_s)
        node.operations.viewers.add(sink)
        try:
            retry_ms = random.randint(settings.retry_min_ms, settings.retry_max_ms)
            history = node.operations.history(details=self._details)
            await sink.send(sse.retry(retry_ms) + history + sse.live(b"", 0))
            while not sink.closed and not node.draining:
                await sink.send(node.operations.newest(details=self._details))
                await sink.wait()
        finally:
            node.operations.viewers.discard(sink)
            await sink.finish()
