"""How documents are answered: with an entity tag, and apart for callers who see different ones."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.web.documents.hubs import asked
from tests.web.tokens.issuers import token

DOCUMENTS = ("/openapi.json", "/asyncapi.json", "/docs")


def bearing(**claims: Any) -> dict[str, str]:
    return {"authorization": f"Bearer {token(**claims)}"}


@pytest.mark.parametrize("path", DOCUMENTS)
async def test_a_document_that_is_as_before_is_304(path: str) -> None:
    async with asked() as client:
        first = await client.get(path)
        again = [
            await client.get(path, headers={"if-none-match": tags})
            for tags in (first.headers["etag"], f'"x", W/{first.headers["etag"]}', '"x"')
        ]
        assert (await client.head(path)).headers["etag"] == first.headers["etag"]
    assert [answer.status_code for answer in again] == [304, 304, 200]
    assert again[0].content == b""
    assert again[2].content == first.content
    assert first.headers["cache-control"] == "no-cache"
    assert first.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize("path", DOCUMENTS)
async def test_each_caller_gets_a_document_of_its_own(path: str) -> None:
    rights = ({"subscribe": ["carts"]}, {"subscribe": ["orders"]})
    async with asked("tokens", cors_origins=["https://shop.example"]) as client:
        found: list[httpx.Response] = [
            await client.get(path, headers=bearing(sub="ann", broadcaster=one)) for one in rights
        ]
        found.append(await client.get(path, headers={"origin": "https://shop.example"}))
    texts = [answer.text for answer in found]
    assert [[name in text for name in ("/carts", "/orders/", "/news")] for text in texts] == [
        [True, False, True], [False, True, True], [False, False, True],
    ]  # fmt: skip
    assert len({answer.headers["etag"] for answer in found}) == 3
    for answer in found:
        assert answer.headers["cache-control"] == "private, no-cache"
        assert "Accept-Encoding, Authorization, Cookie" in answer.headers.get_list("vary")
    assert found[2].headers["access-control-allow-origin"] == "https://shop.example"


@pytest.mark.parametrize("path", DOCUMENTS)
async def test_a_caller_with_a_wrong_token_gets_none(path: str) -> None:
    async with asked("tokens") as client:
        answer = await client.get(path, headers={"authorization": "Bearer x"})
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
