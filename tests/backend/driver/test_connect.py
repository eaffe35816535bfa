from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import BusyLoadingError, ReadOnlyError, ResponseError

from broadcaster import (
    BackendUnavailableError,
    ConfigurationError,
    EmbeddedRedis,
    connect,
    connect_sync,
)
from broadcaster.backend.driver.errors import is_unavailable
from broadcaster.backend.driver.replies import raw_stream_replies
from broadcaster.backend.driver.urls import redacted
from broadcaster.backend.embedded import _binary, free_port
from tests.wait import until, until_sync


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost", "redis://localhost"),
        ("redis://user@host:1/0", "redis://user@host:1/0"),
        ("redis://:secret@host/0", "redis://:***@host/0"),
        ("redis://user:se:cr@et@host/0", "redis://user:***@host/0"),
        ("redis://user:sec/ret@host/0", "redis://user:***@host/0"),
        ("redis://user:sec?ret@host/0", "redis://***"),
        ("redis://host/0?password=secret&db=1", "redis://host/0?password=***&db=1"),
        ("unix:///run/x?password=secret", "unix:///run/x?password=***"),
        (
            "redis+sentinel://u:secret@a:1,b:2/m?sentinel_password=secret",
            "redis+sentinel://u:***@a:1,b:2/m?sentinel_password=***",
        ),
        ("no url with secret@host", "no url with secret@host"),
    ],
)
def test_redacted_shows_no_password(url: str, shown: str) -> None:
    assert redacted(url) == shown


@pytest.mark.parametrize("make", [connect, connect_sync])
@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "http://:secret@localhost",
        "redis://:secret@host:port/0",
        "redis://:secret@host:99999999/0",
        "redis://:secret@host/zero",
        "redis://:secret@host/0?unknown_option=1",
        "redis+sentinel://:secret@host:26379",
        "redis+sentinel://:secret@host:x/master",
        "redis+cluster://:secret@host:1,,host:2",
        "redis+cluster://:secret@host:1/3",
        "redis+other://:secret@host:1",
        "unix+cluster://:secret@host:1",
        "redis://u:x/secret@host:6379/0",
        "redis://:secret?x@host",
        "redis+cluster://u:secret/x@host:1",
        "redis+sentinel://u:secret#x@host:1/m",
    ],
)
def test_a_url_that_cannot_work_says_how_urls_look_and_no_password(make: Any, url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"redis\+sentinel://host1") as caught:
        make(url)
    assert "secret" not in str(caught.value)


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


@pytest.mark.parametrize("protocol", [2, 3])
async def test_raw_replies(redis_url: str, protocol: int) -> None:
    client: Any = connect(f"{redis_url}?protocol={protocol}")
    await _check_raw_replies(client)
    await client.aclose()


@pytest.mark.parametrize("protocol", [2, 3])
async def test_raw_replies_on_cluster(cluster_url: str, protocol: int) -> None:
    client: Any = connect(f"{cluster_url}?protocol={protocol}")
    await _check_raw_replies(client)
    await client.aclose()


async def _check_raw_replies(client: Any) -> None:
    raw_stream_replies(client)
    first = await client.xadd("s", {"a": "1", "b": "2"})
    second = await client.xadd("s", {"m": "x"})
    entries = [[first, [b"a", b"1", b"b", b"2"]], [second, [b"m", b"x"]]]
    assert await client.xread({"s": "0"}) == entries
    assert await client.xrange("s") == entries
    assert await client.xrevrange("s") == entries[::-1]
    assert await client.xread({"s": second}, block=1) == []
    assert await client.xread({"s": second}) == []
    assert await client.xrange("nothing") == []
    await client.delete("s")


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


def test_what_passes_and_what_stays() -> None:
    assert is_unavailable(BusyLoadingError("loading"))
    assert is_unavailable(ReadOnlyError("a replica"))
    assert is_unavailable(ConnectionRefusedError())
    assert is_unavailable(ResponseError("NOREPLICAS Not enough good replicas to write."))
    assert not is_unavailable(ResponseError("WRONGTYPE Operation against a key"))


@pytest.mark.server
async def test_a_server_that_is_frozen_is_given_up_after_the_timeout() -> None:
    with EmbeddedRedis() as server:
        client: Any = connect(server.url, timeout_s=0.1)
        assert await client.ping()
        server.pause()
        with pytest.raises(redis.TimeoutError):
            await client.ping()
        server.resume()
        assert await until(client.ping)
        await client.aclose()
