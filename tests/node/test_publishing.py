"""The publisher of a node: it begins with the first event, and ends with the node."""

from __future__ import annotations

from typing import Any

import pytest

from broadcaster.core.json.incoming import Publication
from broadcaster.errors import ConfigurationError
from broadcaster.node.publishing import Publishing
from broadcaster.settings import Settings


async def test_events_are_published_in_order_and_keys_belong_to_a_subject(
    redis_url: str, client: Any
) -> None:
    publishing = Publishing(Settings(redis_url=redis_url))
    plain = Publication("inventory", [("sold", "7", str(n)) for n in range(3)])
    keyed = Publication("inventory", [("sold", "7", "4")], "k")
    found = [await publishing.publish([plain, keyed], subject) for subject in ("ann", "ann", "bob")]
    await publishing.aclose()
    ids = [[str(id_) for one in published for id_ in one.ids] for published in found]
    stored = [id_.decode() for id_, _ in await client.xrange("inventory")]
    assert stored == [*ids[0], *ids[1][:3], *ids[2]]
    assert ids[0][3] == ids[1][3]
    assert publishing.published == {"inventory": 12, "orders": 0, "recommendations": 0}


async def test_a_node_without_redis_publishes_nothing() -> None:
    publishing = Publishing(Settings())
    with pytest.raises(ConfigurationError, match="redis_url is not set"):
        await publishing.publish([Publication("inventory", [("sold", "7", "1")])])
    await publishing.aclose()
