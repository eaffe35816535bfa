"""Certificates of our own, and a TLS server whose certificate can be replaced."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from tests.nodes import Raw, Running

OPENSSL = shutil.which("openssl")


class Authority:
    """A certificate authority, with a server's and a client's certificate.

    Attributes:
        directory: has `ca.pem`, `server.pem` and `client.pem`; the last two with their keys.
    """

    def __init__(self, directory: Path, name: str) -> None:
        directory.mkdir()
        self.directory = directory
        self._name = name
        self._run(
            "req", "-x509", *_KEY, "-keyout", "ca.key", "-out", "ca.pem", "-subj", f"/CN={name}"
        )
        for what in ("server", "client"):
            self._issue(what)

    def _issue(self, what: str) -> None:
        (self.directory / "names").write_text("subjectAltName=IP:127.0.0.1")
        subject = f"/CN={what} of {self._name}"
        self._run("req", *_KEY, "-keyout", f"{what}.key", "-out", f"{what}.csr", "-subj", subject)
        by = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names")
        self._run("x509", "-req", "-in", f"{what}.csr", *by, "-out", f"{what}.crt", "-days", "2")
        parts = [(self.directory / f"{what}.{end}").read_text() for end in ("crt", "key")]
        (self.directory / f"{what}.pem").write_text("".join(parts))

    def _run(self, *arguments: str) -> None:
        assert OPENSSL
        command = (OPENSSL, *arguments)
        subprocess.run(command, cwd=self.directory, check=True, capture_output=True)


_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Files:
    """The files of a certificate and its key, as a node is given them."""

    def __init__(self, directory: Path) -> None:
        self.certificate, self.key = directory / "node.crt", directory / "node.key"

    def use(self, authority: Authority) -> ssl.SSLContext:
        """Put the certificate of an authority there, and return a context that trusts it."""
        shutil.copy(authority.directory / "server.crt", self.certificate)
        shutil.copy(authority.directory / "server.key", self.key)
        return ssl.create_default_context(cafile=str(authority.directory / "ca.pem"))

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that name them."""
        return {"tls_certificate": str(self.certificate), "tls_key": str(self.key)}


async def opened(hub: Running, trust: ssl.SSLContext, path: str = "/v1/inventory/stream") -> Raw:
    """Ask a node over TLS, and read the head of its answer."""
    raw = Raw(*await asyncio.open_connection("127.0.0.1", hub.port, ssl=trust))
    raw.writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    raw.head = await raw.reader.readuntil(b"\r\n\r\n")
    return raw


class TlsServer:
    """Speaks TLS and passes everything on to a server that does not.

    Attributes:
        port: where it listens on 127.0.0.1.
        authorities: those that the test may change between.
    """

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self.authorities: list[Authority] = []
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def use(self, authority: Authority) -> None:
        """Cut all connections, and use the certificate of an authority from now on.

        Clients must have a certificate of the same authority.
        """
        await self.aclose()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(authority.directory / "server.pem")
        context.load_verify_locations(authority.directory / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=context, reuse_address=True
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def aclose(self) -> None:
        """Stop listening, and cut all connections."""
        if self._server:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        target_reader, target = await asyncio.open_connection("127.0.0.1", self._target_port)
        up = asyncio.create_task(_pass_on(reader, target))
        try:
            await _pass_on(target_reader, writer)
        finally:
            up.cancel()
            await asyncio.gather(up, return_exceptions=True)
            for one in (writer, target):
                one.transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def tls_server(target_port: int, authority: Authority) -> AsyncIterator[TlsServer]:
    """Serve until the block is left."""
    server = TlsServer(target_port)
    await server.use(authority)
    try:
        yield server
    finally:
        await server.aclose()
