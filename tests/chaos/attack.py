"""The common shape of the scenarios with one hostile address.

A node serves quiet clients, and a person at another address opens one order page after the other.
Both are measured, first without an attack and then during each one. An attack shows its own bounds:
what it can take of the node and of Redis.

In a whole run the node has a core of its own, and the attacker and the measuring clients have the
other. Only there times are compared. In a short run the bounds are shown.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.chaos.analysis import Span, of_groups, p99_ms
from tests.chaos.history import Subscription
from tests.chaos.processes import Node
from tests.chaos.stage import Stage

_QUIET = Subscription(("a",))
_RATE = 50
_ORDER_ADDRESS = "127.0.0.2"
_ORDER_MS = 100.0
_QUIET_MS = 20.0
_BEYOND_WINDOW = 100  # events between an order's beginning and the window

WINDOW_EVENTS = 500


@dataclass(frozen=True)
class Target:
    """What is attacked.

    Attributes:
        stage: of the scenario.
        node: the only one.
        ids: of the events on stream `c`, of which the node's window has the last.
    """

    stage: Stage
    node: Node
    ids: list[str]


@dataclass(frozen=True)
class Attack:
    """What one address does.

    Attributes:
        name: in a few words.
        on: attacks while its block lasts, and shows its bounds when it is left.
    """

    name: str
    on: Callable[[Target], AbstractAsyncContextManager[None]]


@dataclass(frozen=True)
class _Measured:
    span: Span
    order_ms: float


async def withstand(
    stage: Stage, attacks: tuple[Attack, ...], *, events: int, **settings: Any
) -> None:
    """Play one attack after the other, and compare times with those before.

    Args:
        stage: of the scenario.
        attacks: in turn.
        events: their number on stream `c`.
        settings: of the node.
    """
    await stage.client.config_set("appendonly", "no")  # nothing is restarted, and disks are slow
    (node,) = await stage.start_nodes(1, window_events=WINDOW_EVENTS, **settings)
    if not stage.quick:
        await stage.pin(node)
    target = Target(stage, node, await fill(stage, "c", events, 120, keys=100))
    await stage.open("quiet", 20, "/a", _QUIET)
    stage.background(stage.producer().run(_RATE))
    before, during = await _measured(target), {}
    for attack in attacks:
        async with attack.on(target):
            during[attack.name] = await _measured(target)
    await stage.quiet()
    await stage.settle(streams=("a",))
    for name, measured in during.items():
        _compare(stage, name, before, measured)
    stage.show_no_reset()


async def _measured(target: Target) -> _Measured:
    """Let the person look at some orders, whose beginning only Redis has."""
    began_s, stage = time.monotonic(), target.stage
    start = target.ids[-WINDOW_EVENTS - _BEYOND_WINDOW]
    answer = await stage.load.ask(
        "look",
        paths=[f"/c?key=order{number}&from={start}" for number in range(stage.count(50, 10))],
        target=target.node.target,
        source=_ORDER_ADDRESS,
    )
    return _Measured((began_s, time.monotonic()), max(answer["ms"]))


def _compare(stage: Stage, name: str, before: _Measured, during: _Measured) -> None:
    stage.show(
        f"{name}: order pages are served meanwhile, the slowest within {_ORDER_MS:.0f} ms",
        f"{before.order_ms:.0f} ms before, {during.order_ms:.0f} ms during",
        stage.quick or during.order_ms <= _ORDER_MS,
        busy=True,
    )
    was_ms, is_ms = (
        p99_ms(stage.recording, stage.ledger, [measured.span], of_groups("quiet"))
        for measured in (before, during)
    )
    stage.show(
        f"{name}: p99 of quiet clients: twice as much, or {_QUIET_MS:.0f} ms",
        f"{was_ms:.1f} ms before, {is_ms:.1f} ms during",
        stage.quick or is_ms <= max(2 * was_ms, _QUIET_MS),
        busy=True,
    )


# What attacks are made of


async def fill(stage: Stage, stream: str, count: int, size: int, keys: int = 1) -> list[str]:
    """Add events to a stream that no quiet client follows. Return their ids."""
    ids: list[str] = []
    while len(ids) < count:
        pipe = stage.client.pipeline(transaction=False)
        for number in range(len(ids), min(count, len(ids) + 1000)):
            pipe.xadd(stream, {"type": "t", "key": f"order{number % keys}", "data": "x" * size})
        ids += [id_.decode() for id_ in await pipe.execute()]
    return ids


def get(path: str) -> bytes:
    """Return a request."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


@asynccontextmanager
async def doing(*works: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Do some things until the block is left.

    Raises:
        Exception: one of them has failed, so nothing was shown.
    """
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception):
            raise error
