from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from broadcaster import (
    BackendUnavailableError,
    EmbeddedRedis,
    connect,
    connect_sync,
)
from broadcaster.backend.driver.replies import raw_stream_replies
from broadcaster.backend.embedded import _binary, free_port
from tests.wait import until, until_sync


def test_timeouts_and_retries_are_ours_not_those_of_redis_py() -> None:
    client: Any = connect("redis://localhost", timeout_s=42.0)
    options = client.get_connection_kwargs()
    assert options["socket_timeout"] == 42.0
    assert options["socket_connect_timeout"] == 5.0
    assert options["retry"].get_retries() == 0
    patient: Any = connect("redis://localhost", retries=3)
    assert patient.get_connection_kwargs()["retry"].get_retries() == 3


def test_the_query_of_a_url_wins() -> None:
    client: Any = connect("unix:///run/redis.sock?db=2&socket_timeout=9&protocol=3", timeout_s=1.0)
    options = client.get_connection_kwargs()
    assert (options["db"], options["socket_timeout"], options["protocol"]) == (2, 9.0, 3)


@pytest.mark.server
async def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    with EmbeddedRedis("--unixsocket", str(path)):
        client: Any = connect(f"unix://{path}")
        assert await client.ping()
        await client.aclose()
        with connect_sync(f"unix://{path}") as sync:
            assert sync.ping()


@pytest.fixture
def sentinel_port(redis_server: EmbeddedRedis, tmp_path: Path) -> Iterator[int]:
    port = free_port()
    config = tmp_path / "sentinel.conf"
    config.write_text(f"port {port}\nsentinel monitor themaster 127.0.0.1 {redis_server.port} 1\n")
    binary = _binary()
    assert binary
    process = subprocess.Popen([binary, str(config), "--sentinel"], stdout=subprocess.DEVNULL)
    made: Any = connect_sync(f"redis://127.0.0.1:{port}")
    with made as client:

        def answers() -> bool:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False

        until_sync(answers)
    yield port
    process.terminate()
    process.wait()


async def test_sentinel(redis_url: str, sentinel_port: int) -> None:
    # The first of the sentinels is down; the second one knows the master.
    url = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel_port}/themaster/0"
    client: Any = connect(url)
    raw_stream_replies(client)
    entry_id = await client.xadd("s", {"a": "1"})
    assert await client.xrange("s") == [[entry_id, [b"a", b"1"]]]
    await client.aclose()
    with connect_sync(url) as sync:
        assert sync.xlen("s") == 1


def test_a_blocking_client_of_a_cluster_that_is_down() -> None:
    with pytest.raises(BackendUnavailableError, match=r"redis\+cluster://u:\*\*\*@127"):
        connect_sync("redis+cluster://u:secret@127.0.0.1:1")


@pytest.mark.server
async def test_a_server_that_is_frozen_is_given_up_after_the_timeout() -> None:
    with EmbeddedRedis() as server:
        client: Any = connect(server.url, timeout_s=1.0)
        assert await client.ping()
        server.pause()
        with pytest.raises(redis.TimeoutError):
            await client.ping()
        server.resume()
        assert await until(client.ping)
        await client.aclose()
