"""Redis urls: no password is shown, and one that cannot work says how urls look."""

from __future__ import annotations

from typing import Any

import pytest

from broadcaster import (
    ConfigurationError,
    connect,
    connect_sync,
)
from broadcaster.backend.driver.urls import redacted


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
        "redis://u:secret/x@host:6379/0",
        "redis://:secret?x@host",
        "redis+cluster://u:secret/x@host:1",
        "redis+sentinel://u:secret#x@host:1/m",
        "redis+sentinel://u:secret/x@host:1/m",
    ],
)
def test_a_url_that_cannot_work_says_how_urls_look_and_no_password(make: Any, url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"redis\+sentinel://host1") as caught:
        make(url)
    assert "secret" not in str(caught.value)


#: A part that redis-py would leave out or replace, or that it can't use, and what is said of it.
MISTAKEN = {
    "redis://host:0/0": "port is between 1 and 65535",
    "redis+sentinel://a:1,b:0/m": "port is between 1 and 65535",
    "redis+cluster://host:99999": "port is between 1 and 65535",
    "redis://host/0#1": "no '#'",
    "redis://host/0?socket_timeout=5#x": "no '#'",
    "redis://host/\u0663": "not the number of a database",
    "redis://a..b/0": "not the name of a host",
    f"redis://{'a' * 64}:6379": "not the name of a host",
    f"redis+sentinel://b,{'a' * 64}/m": "not the name of a host",
    "redis://u:secret@host?password=other": "not in both",
    "redis://u:secret@host?username=v": "not in both",
    "redis+cluster://u@host?username=v": "not in both",
    "unix://run/redis.sock": "begins with '/'",
    "unix://": "path of the Unix socket is missing",
    "unix:///?db=1": "path of the Unix socket is missing",
}


@pytest.mark.parametrize("make", [connect, connect_sync])
@pytest.mark.parametrize(("url", "said"), MISTAKEN.items())
def test_no_part_of_a_url_is_silently_left_out(make: Any, url: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make(url)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["redis://u@host", "redis://u@host?password=p", "redis://:p@host", "unix://u:p@/run/x?db=1"],
)
def test_credentials_come_from_one_place(url: str) -> None:
    connect(url)
