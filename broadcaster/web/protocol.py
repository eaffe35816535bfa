"""uvicorn's HTTP protocol, with its transport offered to the event stream endpoint.

The one place that knows uvicorn's internals. If an upgrade breaks it, the endpoint says so once and
uses the ASGI sink, which is slower and needs nothing but ASGI.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

EXTENSION = "broadcaster.transport"
"""The name in `scope["extensions"]` under which the protocol offers itself."""


class TransportEvents(Protocol):
    """Who wants to know what happens to a connection's transport."""

    def pause_writing(self) -> None:
        """The buffer is above the high-water mark."""

    def resume_writing(self) -> None:
        """The buffer has drained."""

    def connection_lost(self) -> None:
        """The connection is gone."""


class StreamProtocol(HttpToolsProtocol):
    """Passes on what asyncio tells a protocol, so that a stream needs no task that receives."""

    # A slot: one more entry in the instance's dict would be beyond what CPython shares between the
    # instances of a class, and cost each connection 1.3 KB.
    __slots__ = ("events",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As uvicorn's."""
        super().__init__(*args, **kwargs)
        self.events: TransportEvents | None = None

    def on_message_begin(self) -> None:
        """Offer this connection to the request that begins."""
        super().on_message_begin()
        extensions: dict[str, Any] = {EXTENSION: self}
        self.scope["extensions"] = extensions

    def attach(
        self, events: TransportEvents, scope: MutableMapping[str, Any], high_water_bytes: int
    ) -> asyncio.Transport:
        """Take over the connection for a response that is about to start.

        Returns:
            The transport to write the body to, framed as HTTP wants it.

        Raises:
            AttributeError: uvicorn has changed; nothing has been touched.
        """
        cycle, transport = self.cycle, self.transport
        if cycle.scope is not scope:
            raise AttributeError("the request is not the connection's current one")
        if scope["http_version"] == "1.0":
            # uvicorn would use the chunked coding, which HTTP/1.0 does not have.
            cycle.chunked_encoding = False
        transport.set_write_buffer_limits(high=high_water_bytes)
        self.events = events
        return transport

    def detach(self) -> None:
        """Leave the connection to uvicorn again."""
        self.events = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the stream, then uvicorn."""
        if self.events:
            self.events.connection_lost()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Tell the stream, then uvicorn."""
        if self.events:
            self.events.pause_writing()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Tell the stream, then uvicorn."""
        if self.events:
            self.events.resume_writing()
        super().resume_writing()
