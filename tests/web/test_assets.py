"""The scripts of the client come compressed, and again only when they have changed."""

from __future__ import annotations

import gzip

import pytest

from broadcaster.web.assets import asset_of, script
from tests.nodes import running
from tests.wait import http_client

SCRIPTS = ("client.js", "react.js")


@pytest.mark.parametrize("name", SCRIPTS)
async def test_a_script_is_sent_once(redis_url: str, name: str) -> None:
    async with running(redis_url, cors_origins=("*",)) as hub, http_client() as http:
        first = await http.get(f"{hub.url}/{name}", headers={"origin": "https://shop.example"})
        known = {"if-none-match": first.headers["etag"]}
        again = await http.get(f"{hub.url}/{name}", headers=known)
        other = await http.get(f"{hub.url}/{name}", headers={"if-none-match": '"other"'})
    assert (first.status_code, again.status_code, other.status_code) == (200, 304, 200)
    assert first.headers["content-type"] == "text/javascript; charset=utf-8"
    assert first.headers["cache-control"] == "no-cache"
    assert first.headers["access-control-allow-origin"] == "*"
    assert first.headers["x-content-type-options"] == "nosniff"
    assert first.content == other.content == script(f"scripts/{name}").body
    assert (again.content, again.headers["etag"]) == (b"", first.headers["etag"])


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip, br", "gzip"),
        ("br;q=1, GZIP;q=0.5", "gzip"),
        ("gzip;q=0", None),
        ("gzip; q=0.000", None),
        ("x-gzip", None),
        ("", None),
    ],
)
async def test_it_is_compressed_for_those_that_read_it(
    redis_url: str, accepted: str, coding: str | None
) -> None:
    async with running(redis_url) as hub, http_client() as http:
        answer = await http.get(f"{hub.url}/client.js", headers={"accept-encoding": accepted})
    assert answer.headers.get("content-encoding") == coding
    assert answer.headers["vary"] == "Accept-Encoding"
    assert answer.content == script("scripts/client.js").body


def test_a_tag_changes_with_the_bytes() -> None:
    one, other = asset_of(b"1", "text/css"), asset_of(b"2", "text/css")
    assert one.tag != other.tag
    assert one == asset_of(b"1", "text/css")
    assert gzip.decompress(one.packed) == b"1"


def test_the_client_is_small() -> None:
    assert len(script("scripts/client.js").packed) <= 4096
    assert len(script("scripts/react.js").packed) <= 1024
