"""Options in the query of a Redis url: those that can work for us, and why others can't."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from broadcaster import ConfigurationError, EmbeddedRedis, connect, connect_sync
from broadcaster.backend.driver.options import LEAST_TIMEOUT_S
from broadcaster.backend.tailer import BLOCK_S
from tests.command_line import finished, starting

WRONG = {
    "socket_timeout=1": "least is 3 and the most 300",
    "socket_timeout=2.99": "least is 3",
    "socket_timeout=0": "least is 3",
    "socket_timeout=-1": "least is 3",
    "socket_timeout=nan": "least is 3",
    "socket_timeout=inf": "most 300",
    "socket_timeout=100000": "most 300",
    "socket_timeout=soon": "least is 3",
    "socket_connect_timeout=0.001": "least is 1",
    "socket_connect_timeout=0": "least is 1",
    "decode_responses=true": "bytes",
    "decode_responses=True": "bytes",
    "encoding=latin-1": "UTF-8",
    "encoding_errors=ignore": "UTF-8",
    "retry_on_timeout=true": "twice",
    "retry_on_error=x": "twice",
    "cluster_error_retry_attempts=3": "twice",
    "single_connection_client=true": "hold up",
    "read_from_replicas=true": "replica",
    "max_connections=1": "at least 100",
    "max_connections=-1": "at least 100",
    "max_connections=many": "at least 100",
    "health_check_interval=-5": "at least 0",
    "protocol=4": "one of 2, 3",
    "db=-1": "at least 0",
    "db=one": "at least 0",
    "db=": "at least 0",
    "client_name=two words": "without spaces",
    "client_name=": "without spaces",
    "socket_keepalive=perhaps": "true or false",
    "socket_read_size=1": "not known",
    "connection_class=x": "not known",
    "parser_class=x": "not known",
    "timeout=1": "not known",
    "host=elsewhere": "not known",
    "lib_name=x": "not known",
    "db=1&db=2": "twice",
    "socket_timeout": "can't be used",
}
HARMLESS = (
    "socket_timeout=3",
    "socket_timeout=3&socket_connect_timeout=1",
    "decode_responses=false",
    "encoding=utf-8",
    "retry_on_timeout=no",
    "single_connection_client=0",
    "max_connections=100",
    "health_check_interval=30",
    "protocol=3",
    "client_name=node-1",
    "socket_keepalive=yes",
    "username=u&password=p%40",
)


@pytest.mark.parametrize("make", [connect, connect_sync])
@pytest.mark.parametrize(("query", "said"), WRONG.items())
def test_an_option_that_cannot_work_is_refused_and_says_why(
    make: Any, query: str, said: str
) -> None:
    for url in ("redis://:secret@host/0", "redis+sentinel://:secret@host/m"):
        with pytest.raises(ConfigurationError, match=said) as caught:
            make(f"{url}?{query}")
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("query", HARMLESS)
def test_other_options_reach_the_connections(query: str) -> None:
    for url in ("redis://host/0", "redis+sentinel://host/m", "redis+cluster://host"):
        connect(f"{url}?{query}")


@pytest.mark.parametrize("query", HARMLESS[:-1])
async def test_a_server_takes_them(redis_url: str, query: str) -> None:
    client: Any = connect(f"{redis_url}?{query}")
    assert await client.ping()
    assert await client.xadd("s", {"a": "1"})
    assert await client.xread({"s": "0"})
    await client.aclose()


def test_a_reader_waits_less_than_the_least_timeout() -> None:
    assert BLOCK_S + 1.0 < LEAST_TIMEOUT_S


def test_a_database_in_the_query_wins_and_a_cluster_has_none() -> None:
    client: Any = connect("redis://host/1?db=2")
    assert client.get_connection_kwargs()["db"] == 2
    for url in ("redis+cluster://host?db=2", "redis+cluster://host/2"):
        with pytest.raises(ConfigurationError, match="db"):
            connect(url)
    connect("redis+cluster://host?db=0")


@pytest.mark.parametrize(
    "query",
    [
        "ssl_ca_certs=/none",
        "ssl_ca_certs=/",
        "ssl_ca_path=/etc/passwd",
        "ssl_ca_data=none",
        "ssl_certfile=/dev/null",
        "ssl_keyfile=/etc/passwd",
        "ssl_cert_reqs=maybe",
        "ssl_min_version=1.0",
        "ssl_ciphers=",
        "ssl_ciphers=NO-SUCH-CIPHER",
    ],
)
def test_an_option_of_tls_that_cannot_work_is_refused(query: str) -> None:
    with pytest.raises(ConfigurationError, match=query.partition("=")[0]):
        connect(f"rediss://host?{query}")


def test_options_of_tls_are_refused_without_it(tmp_path: Path) -> None:
    for scheme in ("redis", "redis+sentinel", "redis+cluster"):
        with pytest.raises(ConfigurationError, match="ssl_ca_path needs TLS"):
            connect(f"{scheme}://host/m?ssl_ca_path={tmp_path}")


async def test_all_commands_say_the_same(redis_server: EmbeddedRedis) -> None:
    url = f"{redis_server.url}?socket_timeout=1"
    env = {"BROADCASTER_REDIS_URL": url}
    said = []
    async with starting() as start, starting(sys.executable, "-m", "workers") as work:
        for command in ("check", "serve", "publish"):
            more = ("inventory", "--data", "1") if command == "publish" else ()
            status, _, err = await finished(await start(command, *more, env=env))
            assert status == 2, err
            said.append(err)
        status, _, err = await finished(await work("inventory", env=env))
        assert status == 1
        said.append(err)
    for err in said:
        assert "socket_timeout=1 can't work: the least is 3" in err
        assert "Traceback" not in err
