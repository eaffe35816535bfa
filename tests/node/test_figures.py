"""The figures of a node are those of its counters."""

from __future__ import annotations

import pytest

from broadcaster.backend.memory import MemoryLog
from broadcaster.core.wire import Refusal, Shed
from broadcaster.node.figures import Rate, own_figures
from broadcaster.node.node import Node
from tests.nodes import Raw, running
from tests.wait import until


def test_a_rate_is_that_of_the_last_seconds() -> None:
    rate = Rate()
    assert rate.of(100, 0.0) == 0
    assert rate.of(150, 1.0) == 50
    assert 45 < rate.of(150, 1.1) < 46  # looked at again at once
    for second in range(2, 9):
        found = rate.of(150, float(second))
    assert found == 0


@pytest.mark.server
async def test_they_count_clients_deliveries_resumes_and_limits() -> None:
    log = MemoryLog()
    async with running("", log=log) as hub:
        node: Node = hub.node
        first = own_figures(node, 0.0)
        assert (first["clients"], first["lagging"], first["limits"]) == (0, 0, {})
        assert set(first["resumes"].values()) == {0}
        id_ = log.add("inventory", data="1")
        stream = await Raw.get(hub.port, "/v1/inventory/stream", f"Last-Event-ID: {id_}\r\n")
        await stream.until(b"stream.live")
        node.meters.shed[Shed.RATE] += 2
        node.meters.refused[Refusal.SLOW] += 1
        found = own_figures(node, 1.25)
        assert (found["clients"], found["lagging"], found["deliveries_per_s"]) == (1, 0, 1.2)
        assert found["resumes"] == {"window": 1, "redis": 0, "state": 0, "reset": 0}
        assert found["limits"] == {"rate": 2, "slow": 1}
        stream.close()
        await until(lambda: own_figures(node, 0.0)["clients"] == 0)
