"""The publisher of a node: it begins with the first event, and ends with the node."""

from __future__ import annotations

from typing import Any

import pytest

from broadcaster.core.incoming import Incoming
from broadcaster.errors import ConfigurationError
from broadcaster.node.publishing import Publishing
from broadcaster.settings import Settings


async def test_events_are_published_in_order(redis_url: str, client: Any) -> None:
    publishing = Publishing(Settings(redis_url=redis_url))
    events = [Incoming("sold", "7", str(n)) for n in range(3)]
    ids = await publishing.publish("inventory", events)
    await publishing.aclose()
    assert [id_.decode() for id_, _ in await client.xrange("inventory")] == list(map(str, ids))
    assert ids == sorted(ids)


async def test_a_node_without_redis_publishes_nothing() -> None:
    publishing = Publishing(Settings())
    with pytest.raises(ConfigurationError, match="redis_url is not set"):
        await publishing.publish("inventory", [Incoming("sold", "7", "1")])
    await publishing.aclose()
