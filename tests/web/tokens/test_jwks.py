"""Keys of an issuer, over a real connection."""

from __future__ import annotations

import asyncio
import gzip
import json
import tracemalloc

import pytest

from broadcaster.errors import BackendUnavailableError
from broadcaster.web.tokens import jwks
from tests.web.tokens.issuers import jwk, key_server, pair

pytestmark = pytest.mark.server


async def test_the_keys_of_a_set_are_fetched() -> None:
    async with key_server() as server:
        server.keys = [jwk("ES256", pair("ES256"), kid="a"), jwk("RS256", pair("RS256"), kid="b")]
        assert [key.id for key in await jwks.fetch(server.url)] == ["a", "b"]


@pytest.mark.parametrize("status", [0, 204, 302, 404, 500])
async def test_an_answer_without_keys_is_trouble_that_passes(status: int) -> None:
    async with key_server() as server:
        server.status = status
        with pytest.raises(BackendUnavailableError, match="no keys from"):
            await jwks.fetch(server.url)
        assert server.asked == 1  # a redirect is not followed


@pytest.mark.parametrize("body", [b"<html>", b'{"keys": []}', b"x" * 300_000])
async def test_an_answer_that_is_no_set_is_trouble_that_passes(body: bytes) -> None:
    async with key_server() as server:
        server.body = body
        with pytest.raises(BackendUnavailableError, match="no keys from"):
            await jwks.fetch(server.url)


async def test_an_encoding_is_not_asked_for_and_gzip_is_read_all_the_same() -> None:
    async with key_server() as server:
        plain = json.dumps({"keys": [jwk("ES256", pair("ES256"), kid="a")]}).encode()
        server.body, server.encoding = gzip.compress(plain), "gzip"
        assert [key.id for key in await jwks.fetch(server.url)] == ["a"]
        assert b"accept-encoding: identity\r\n" in server.asked_with.lower()
        server.body, server.encoding = plain, "br"
        with pytest.raises(BackendUnavailableError, match="encoding 'br'"):
            await jwks.fetch(server.url)
        server.encoding = "gzip"
        with pytest.raises(BackendUnavailableError, match="no gzip"):
            await jwks.fetch(server.url)


async def test_few_bytes_of_gzip_do_not_become_many() -> None:
    async with key_server() as server:
        bomb = gzip.compress(bytes(20_000_000))
        assert len(bomb) < 256 * 1024
        server.body, server.encoding = bomb, "gzip"
        tracemalloc.start()
        try:
            with pytest.raises(BackendUnavailableError, match="more than 262144 bytes"):
                await jwks.fetch(server.url)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most < 8_000_000


async def test_a_server_that_does_not_answer_is_waited_for_a_moment() -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(BackendUnavailableError):
            await jwks.fetch(f"http://127.0.0.1:{port}/", timeout_s=0.05)
        server.close()


async def test_a_url_that_is_none_is_trouble_too() -> None:
    with pytest.raises(BackendUnavailableError):
        await jwks.fetch("http://[x/")
