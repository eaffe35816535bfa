"""A node without sockets, and without Redis."""

from __future__ import annotations

import asyncio

import pytest

from broadcaster.app import create_app
from broadcaster.backend.memory import MemoryLog
from broadcaster.node import pump
from broadcaster.node.node import Node
from broadcaster.settings import Settings
from tests.wait import PATIENCE_S


@pytest.fixture
def node() -> Node:
    """A node that was not started."""
    return Node(Settings(redis_url="redis://unused"))


async def test_a_mistake_in_one_round_does_not_end_the_work(
    node: Node, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pump, "_AGAIN_S", 0.01)
    done = asyncio.Event()

    async def work() -> None:
        if not caplog.records:
            raise KeyError("a mistake")
        done.set()

    node._run(work)
    async with asyncio.timeout(PATIENCE_S):
        await done.wait()
    assert "a mistake" in caplog.text


async def test_a_policy_that_is_no_function_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="authorize is a function, not 'token'"):
        create_app(Settings(), log=MemoryLog(), authorize="token")  # type: ignore[arg-type]
