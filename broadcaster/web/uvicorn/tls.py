"""TLS at the node: the handshake before uvicorn's protocol begins, and the encryption after it.

Event loops have a TLS transport of their own. With uvloop's, each connection has 256 KB to read
into, of which 20 to 50 KB stay in memory. It has a second buffer for what is to be sent, so that a
client that reads slowly can't be told from one that reads nothing. And nothing would count the
connections that are still in their handshake. This module does not import uvicorn.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from broadcaster.core.wire import Refusal
from broadcaster.web.uvicorn.certificate import Certificate
from broadcaster.web.uvicorn.open_connections import OpenConnections

logger = logging.getLogger(__name__)

_RECORD_BYTES = 16 * 1024


class TlsConnection(asyncio.Protocol, asyncio.Transport):
    """A connection that speaks TLS: a protocol to its socket, and a transport to uvicorn.

    uvicorn's protocol is made when the handshake is complete. Until then the connection waits in
    `OpenConnections`, as one without a request does. What is written is encrypted at once and goes
    to the socket's transport. So there is one buffer, with one high-water mark.
    """

    __slots__ = ("_closing", "_context", "_incoming", "_outgoing", "_paused", "_protocol",
                 "_socket", "_tls", "_waiting")  # fmt: skip

    def __init__(
        self,
        make: Callable[..., asyncio.Protocol],
        certificate: Certificate,
        opened: OpenConnections,
        **of_uvicorn: Any,
    ) -> None:
        """Prepare the handshake.

        Args:
            make: makes uvicorn's protocol, or ours, of the arguments that uvicorn gives.
            certificate: of the node.
            opened: those of the server.
            of_uvicorn: these arguments.
        """
        self._context = certificate.context
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = self._context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._protocol: asyncio.Protocol | None = None
        self._closing = self._paused = False
        connections = of_uvicorn["server_state"].connections
        self._waiting: _Waiting | None = _Waiting(partial(make, **of_uvicorn), opened, connections)

    # The protocol of the socket

    def connection_made(self, transport: Any) -> None:
        """Wait for the client's greeting."""
        self._socket: asyncio.Transport = transport
        assert self._waiting is not None
        self._waiting.connections.add(self)
        self._waiting.opened.enter(self)

    def data_received(self, data: bytes) -> None:
        """Go on with the handshake, or pass on what the client has sent."""
        if self._closing:
            return
        self._incoming.write(data)
        try:
            if self._protocol is None:
                self._tls.do_handshake()
                self._begin()
            self._read()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._break(error)
        if self._outgoing.pending and self._paused:  # answers to key updates, which nothing bounds
            self.abort()
        self._flush()

    def _begin(self) -> None:
        waiting = self._leave()
        assert waiting is not None
        self._protocol = waiting.make()
        self._protocol.connection_made(self)

    def _read(self) -> None:
        assert self._protocol is not None
        while not self._closing:
            data = self._tls.read(_RECORD_BYTES)
            if not data:  # the client has said goodbye
                self.close()
                return
            self._protocol.data_received(data)

    def _flush(self) -> None:
        if self._outgoing.pending and not self._socket.is_closing():
            self._socket.write(self._outgoing.read())

    def pause_writing(self) -> None:
        """The socket takes no more for now."""
        self._paused = True
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """The socket takes more again."""
        self._paused = False
        if self._protocol is not None:
            self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection. Without the cycle of the two protocols, its memory is free."""
        if waiting := self._leave():
            waiting.opened.meters.refused[Refusal.TLS] += 1
        self._closing = True
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(exc)

    # A connection of `OpenConnections` and of uvicorn's server

    def close_for(self, reason: Refusal) -> None:
        """Close the connection, which waits too long, or longest."""
        if waiting := self._leave():
            waiting.opened.meters.refused[reason] += 1
        self.abort()

    def shutdown(self) -> None:
        """Close the connection, because the server stops within the handshake."""
        self._leave()
        self.abort()

    def _leave(self) -> _Waiting | None:
        """Stop the wait. Return what was kept for the end of the handshake, the first time."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.connections.discard(self)
            waiting.opened.leave(self)
        return waiting

    # The transport of uvicorn's protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send."""
        if self._closing:
            return
        try:
            # All of it, in as many records as it needs: OpenSSL does not write less unless it is in
            # SSL_MODE_ENABLE_PARTIAL_WRITE. https://docs.openssl.org/3.0/man3/SSL_write/#notes
            self._tls.write(data)
        except ssl.SSLError as error:  # a round of writes must not end for the others
            self._break(error)
        else:
            self._socket.write(self._outgoing.read())

    def _break(self, error: ssl.SSLError) -> None:
        """Close a connection after an error of TLS, after which nothing can be written."""
        logger.debug("a connection does not speak TLS, or not as it should: %s", error)
        self._flush()  # which has the alert
        self._closing = True
        if self._socket.get_write_buffer_size():  # the client may never read it
            self._socket.abort()
        else:
            self._socket.close()

    def close(self) -> None:
        """Say goodbye, and close the connection when all is sent.

        A "party does not need to wait" for the other's goodbye, so that a client that never answers
        costs nothing. https://www.rfc-editor.org/rfc/rfc8446#section-6.1
        """
        if not self._closing:
            self._say_goodbye()
            self._socket.close()

    def can_write_eof(self) -> bool:
        """Return True: the client can be told that nothing follows."""
        return True

    def write_eof(self) -> None:
        """Say goodbye, and ignore what still comes."""
        if not self._closing:
            self._say_goodbye()
            self._socket.write_eof()

    def _say_goodbye(self) -> None:
        self._closing = True
        with suppress(ssl.SSLError):  # the client's own goodbye has not come
            self._tls.unwrap()
        self._flush()

    def abort(self) -> None:
        """Cut the connection."""
        self._closing = True
        self._socket.abort()

    def is_closing(self) -> bool:
        """Return True if nothing more can be written."""
        return self._closing or self._socket.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known about TLS, or about the socket."""
        if name == "sslcontext":
            return self._context
        return self._socket.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Read no more for now."""
        self._socket.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        self._socket.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the high-water mark of the one buffer, in bytes after encryption."""
        self._socket.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """Return the bytes that the socket has yet to take."""
        return self._socket.get_write_buffer_size()

    def get_protocol(self) -> Any:
        """Return the protocol above; None before the handshake is complete."""
        return self._protocol


class _Waiting(NamedTuple):
    """The parts that a connection needs until its handshake is complete."""

    make: Callable[[], asyncio.Protocol]
    opened: OpenConnections
    connections: set[Any]
