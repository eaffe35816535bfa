"""Replies about streams are plain lists, on one server and on a Cluster."""

from __future__ import annotations

from typing import Any

import pytest

from broadcaster import (
    connect,
)
from broadcaster.backend.driver.replies import raw_stream_replies


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
