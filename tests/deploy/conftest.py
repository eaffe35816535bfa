"""Balancers with the deployed files, before two real nodes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import starting
from tests.deploy.balancers import Balancer, missing
from tests.nodes import Raw

Balance = Callable[..., Awaitable[Balancer]]


@pytest.fixture(params=["haproxy", "nginx"])
async def balance(
    request: pytest.FixtureRequest, tmp_path: Path, redis_url: str
) -> AsyncIterator[Balance]:
    """Starts nodes and a balancer: `changes` to its configuration, and settings of the nodes.

    Nodes that a test will kill are `mortal`: they are processes, which take longer to start.
    """
    name = request.param
    if missing(name):
        pytest.skip(f"{name} is not installed")
    async with AsyncExitStack() as started:
        start = await started.enter_async_context(starting())

        async def make(
            changes: dict[str, dict[str, str]] | None = None,
            redis: str = redis_url,
            *,
            mortal: bool = False,
            **settings: Any,
        ) -> Balancer:
            balancer = Balancer(name, tmp_path, (changes or {}).get(name, {}))
            if mortal:
                await balancer.start_nodes(start, redis, **settings)
            else:
                await balancer.run_nodes(started, redis, **settings)
            await started.enter_async_context(balancer.running())
            await balancer.used()
            return balancer

        yield make
        while Raw.made:
            Raw.made.pop().close()
