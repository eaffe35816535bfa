"""Requests for what is made on demand."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from broadcaster import BackendUnavailableError, ConfigurationError, connect
from broadcaster.backend.requester import Requester
from tests.backend.conftest import NOBODY

REQUESTS = "answers.requests"


async def test_a_herd_asks_over_few_connections(redis_url: str, client: Any) -> None:
    asking: Any = connect(redis_url, client_name="asking")
    requester = Requester(asking)
    ids = await asyncio.gather(*(requester.request(REQUESTS, f"k{n}") for n in range(300)))
    entries = await client.xrange(REQUESTS)
    assert [id.decode() for id, _ in entries] == sorted(map(str, ids), key=_by_number)
    assert {fields[b"key"] for _, fields in entries} == {b"k%d" % n for n in range(300)}
    assert sum(c["name"] == "asking" for c in await client.client_list()) <= 4
    await asking.aclose()


def _by_number(id_: str) -> list[int]:
    return [int(part) for part in id_.split("-")]


async def test_trouble_is_named(redis_url: str, client: Any) -> None:
    nobody, asking = connect(NOBODY), connect(redis_url)
    with pytest.raises(BackendUnavailableError):
        await Requester(nobody).request(REQUESTS, "k")
    await client.set(REQUESTS, "no stream")
    with pytest.raises(ConfigurationError, match="WRONGTYPE"):
        await Requester(asking).request(REQUESTS, "k")
    for made in (nobody, asking):
        await made.aclose()
