"""Passwords and certificates that are renewed while a program runs."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import AuthenticationError

from broadcaster import (
    BackendUnavailableError,
    BroadcasterError,
    ConfigurationError,
    EmbeddedRedis,
    Publisher,
    SyncPublisher,
    connect,
    connect_sync,
)
from broadcaster.backend.driver.secrets import FileCredentials
from tests.files import UNUSABLE, Unusable
from tests.nodes import Raw, running
from tests.tls import OPENSSL, Authority, TlsServer, tls_server
from tests.wait import PATIENCE_S, until

needs_openssl = pytest.mark.skipif(not OPENSSL, reason="makes certificates with openssl")


class Mounted:
    """A directory of secrets as Kubernetes mounts it: a link is swapped when they are renewed.

    Attributes:
        path: where programs see it.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / "mounted"
        self._data = directory

    def show(self, files: Path) -> None:
        """Swap the link, in one step."""
        link = self._data / "..data_tmp"
        link.symlink_to(files)
        link.rename(self.path)

    def password(self, text: str, name: str = "password") -> None:
        """Show a directory with a password."""
        files = self._data / f"..{len(list(self._data.iterdir()))}"
        files.mkdir()
        (files / name).write_text(text)
        self.show(files)


@pytest.fixture
def mounted(tmp_path: Path) -> Mounted:
    return Mounted(tmp_path)


@pytest.fixture
def server() -> Iterator[EmbeddedRedis]:
    """A server with a user whose password a test changes."""
    with EmbeddedRedis() as made:
        renew(made, "first")
        yield made


def renew(server: EmbeddedRedis, password: str) -> None:
    """Give the user another password, and close its connections."""
    redis: Any
    with connect_sync(server.url) as redis:
        rules = ("reset", "on", f">{password}", "~*", "&*", "+@all")
        redis.execute_command("ACL", "SETUSER", "hub", *rules)
        redis.execute_command("CLIENT", "KILL", "USER", "hub")


def url_of(server: EmbeddedRedis, mounted: Mounted) -> str:
    return f"redis://hub@127.0.0.1:{server.port}/0?password_file={mounted.path}/password"


def test_a_password_is_read_each_time_without_its_line_feed(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("one\n")
    credentials = FileCredentials(str(file), "hub")
    assert credentials.get_credentials() == ("hub", "one")
    file.write_text(" zw\u00f6lf % \r\n")
    assert credentials.get_credentials() == ("hub", "zw\u00f6lf %")
    assert FileCredentials(str(file)).get_credentials() == ("zw\u00f6lf %",)
    file.write_bytes(b"\xef\xbb\xbfthree\n")  # as some editors write it
    assert FileCredentials(str(file)).get_credentials() == ("three",)


def test_what_is_no_file_is_refused_at_the_start(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, Path("/dev/zero")):
        with pytest.raises(ConfigurationError, match="no file"):
            connect(f"redis://host?password_file={path}")


@UNUSABLE
def test_what_is_no_secret_is_trouble_that_passes(tmp_path: Path, unusable: Unusable) -> None:
    path = tmp_path / "password"
    unusable.make(path)
    with unusable.met(), pytest.raises(AuthenticationError, match=unusable.why):
        FileCredentials(str(path)).get_credentials()


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe"])
def test_a_file_without_a_password_is_trouble_that_passes(
    tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "password"
    file.write_text("secret")
    url = f"redis://hub@127.0.0.1:1?password_file={file}"
    with SyncPublisher(url) as publisher:
        file.unlink()
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(BackendUnavailableError):
            publisher.publish("inventory", data=1)


@pytest.mark.parametrize(
    "url",
    [
        "redis://hub@host?password_file=/no/such/file",
        "redis://hub:pw@host?password_file={file}",
        "redis://host?password=pw&password_file={file}",
        "redis+sentinel://host/m?sentinel_password=pw&sentinel_password_file={file}",
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_at_start(tmp_path: Path, url: str) -> None:
    file = tmp_path / "password"
    file.write_text("secret")
    with pytest.raises(ConfigurationError, match="password_file"):
        connect(url.format(file=file))


def test_every_kind_of_url_takes_a_password_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("secret")
    for base in ("redis://hub@h/1", "unix:///s", "redis+sentinel://h/m", "redis+cluster://hub@h"):
        client: Any = connect(f"{base}?password_file={file}")
        kwargs = getattr(client, "connection_kwargs", None) or client.get_connection_kwargs()
        assert kwargs["credential_provider"].path == str(file)
    sentinel: Any = connect(f"redis+sentinel://h/m?sentinel_password_file={file}")
    pool = sentinel.connection_pool.sentinel_manager.sentinels[0].connection_pool
    assert pool.connection_kwargs["credential_provider"].get_credentials() == ("secret",)


@pytest.mark.server
async def test_a_renewed_password_is_used_by_the_next_connection(
    server: EmbeddedRedis, mounted: Mounted
) -> None:
    mounted.password("first\n")
    url = url_of(server, mounted)
    with SyncPublisher(url) as sync:
        async with running(url) as hub, Publisher(url) as publisher:
            stream = await Raw.get(hub.port, "/v1/inventory/stream")
            await stream.until(b"stream.live")
            await publisher.publish("inventory", data="before")
            sync.publish("inventory", data="before, too")
            await stream.told(2)
            renew(server, "second")
            await until(lambda: hub.node.problems())
            with pytest.raises(BackendUnavailableError):
                await publisher.publish("inventory", data="lost")
            mounted.password("second\n")
            await publisher.publish("inventory", data="after")
            try:
                sync.publish("inventory", data="after, too")
            except BackendUnavailableError:  # its old connection was closed
                sync.publish("inventory", data="after, too")
            assert await stream.told(4) == ["before", "before, too", "after", "after, too"]
            await until(lambda: not hub.node.problems())


@pytest.fixture
async def tls(redis_server: EmbeddedRedis, tmp_path: Path) -> AsyncIterator[TlsServer]:
    """A TLS server whose authority is `first`; `second` is another one."""
    made = [await asyncio.to_thread(Authority, tmp_path / n, n) for n in ("first", "second")]
    async with tls_server(redis_server.port, made[0]) as server:
        server.authorities = made
        yield server


@needs_openssl
@pytest.mark.server
async def test_renewed_certificates_are_used_by_the_next_connection(
    redis_url: str, tls: TlsServer, mounted: Mounted
) -> None:
    first, second = tls.authorities
    mounted.show(first.directory)
    files = f"ssl_ca_certs={mounted.path}/ca.pem&ssl_certfile={mounted.path}/client.pem"
    patient = f"socket_timeout={PATIENCE_S:.0f}&socket_connect_timeout={PATIENCE_S:.0f}"
    url = f"rediss://127.0.0.1:{tls.port}/0?{files}&{patient}"
    with SyncPublisher(url) as sync:
        async with running(url) as hub, Publisher(url) as publisher:
            stream = await Raw.get(hub.port, "/v1/inventory/stream")
            await stream.until(b"stream.live")
            await publisher.publish("inventory", data="before")
            await asyncio.to_thread(sync.publish, "inventory", data="before, too")
            await stream.told(2)
            await tls.use(second)
            await until(lambda: hub.node.problems())
            for publish in (publisher.publish, _in_a_thread(sync)):
                with pytest.raises(BackendUnavailableError):
                    await publish("inventory", data="lost")
            mounted.show(second.directory)
            for publish in (publisher.publish, _in_a_thread(sync)):
                await publish("inventory", data="after")
            assert await stream.told(4) == ["before", "before, too", "after", "after"]
            await until(lambda: not hub.node.problems())


@needs_openssl
@pytest.mark.server
async def test_a_certificate_that_is_half_written_is_trouble_that_passes(
    redis_url: str, tls: TlsServer, tmp_path: Path
) -> None:
    first, _ = tls.authorities
    ca, client = tmp_path / "ca.pem", tmp_path / "client.pem"
    ca.write_bytes((first.directory / "ca.pem").read_bytes())
    whole = (first.directory / "client.pem").read_bytes()
    client.write_bytes(whole[: len(whole) // 3])
    url = f"rediss://127.0.0.1:{tls.port}/0?ssl_ca_certs={ca}&ssl_certfile={client}"
    async with Publisher(url) as publisher:
        for broken in (whole[:100], b"", None):
            client.unlink() if broken is None else client.write_bytes(broken)
            with pytest.raises(BroadcasterError) as caught:
                await publisher.publish("inventory", data=1)
            assert isinstance(caught.value, BackendUnavailableError)
        client.write_bytes(_with_a_password(whole))
        with pytest.raises(BackendUnavailableError):
            await publisher.publish("inventory", data=1)
        client.write_bytes(whole)
        await publisher.publish("inventory", data=1)


@needs_openssl
@pytest.mark.skipif(not shutil.which("script"), reason="gives it a terminal with script")
@pytest.mark.server
@pytest.mark.parametrize("scheme", ["rediss", "rediss+cluster"])
async def test_openssl_never_asks_for_a_password_on_the_terminal(
    redis_url: str, tls: TlsServer, tmp_path: Path, scheme: str
) -> None:
    first, _ = tls.authorities
    client = tmp_path / "client.pem"
    client.write_bytes(_with_a_password((first.directory / "client.pem").read_bytes()))
    files = f"ssl_ca_certs={first.directory}/ca.pem&ssl_certfile={client}"
    url = f"{scheme}://127.0.0.1:{tls.port}?{files}"
    program = (
        "import asyncio, broadcaster as b, sys\n"
        "async def ask():\n    await b.connect(sys.argv[1]).ping()\n"
        "for ping in (lambda: asyncio.run(ask()), lambda: b.connect_sync(sys.argv[1]).ping()):\n"
        "    try:\n        ping()\n    except Exception as error:\n        print(error)\n"
    )
    # `script` gives it a terminal, where it would wait.
    command = shlex.join((sys.executable, "-c", program, url))
    process = await asyncio.create_subprocess_exec(
        *("script", "-qec", command, "/dev/null"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert b"PEM pass phrase" not in out
    assert process.returncode == 0, out


def _with_a_password(whole: bytes) -> bytes:
    """Return a certificate whose key is encrypted."""
    assert OPENSSL
    command = (OPENSSL, "pkey", "-aes256", "-passout", "pass:secret")
    made = subprocess.run(command, input=whole, check=True, capture_output=True)
    return whole[: whole.index(b"-----END CERT")] + b"-----END CERTIFICATE-----\n" + made.stdout


def _in_a_thread(sync: SyncPublisher) -> Any:
    return lambda *args, **named: asyncio.to_thread(sync.publish, *args, **named)
