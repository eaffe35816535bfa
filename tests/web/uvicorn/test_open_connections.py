"""Connections without a request are counted, and wait for a limited time."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from broadcaster.core.counters import Meters
from broadcaster.core.wire import Refusal
from broadcaster.settings import Settings
from broadcaster.web.spread import PER_TURN, Spread
from broadcaster.web.uvicorn.open_connections import Bounds, OpenConnections
from tests.wait import until


class Connection:
    """A connection that notes why it was given up."""

    def __init__(self, opened: OpenConnections) -> None:
        self.closed_for: list[Refusal] = []
        self._opened = opened

    def close_for(self, reason: Refusal) -> None:
        self.closed_for.append(reason)
        self._opened.leave(self)


def with_bounds(**bounds: Any) -> OpenConnections:
    return OpenConnections(Bounds.of(Settings())._replace(**bounds), Meters())


def entered(opened: OpenConnections, count: int) -> list[Connection]:
    made = [Connection(opened) for _ in range(count)]
    for connection in made:
        opened.enter(connection)
    return made


def test_connections_wait_unless_a_request_is_answered() -> None:
    opened = with_bounds()
    first, second = entered(opened, 2)
    assert opened.meters.waiting == 2
    opened.serve(first)
    assert opened.meters.waiting == 1
    opened.rest(first)
    opened.expect(first)
    assert opened.meters.waiting == 2
    opened.leave(first)
    opened.leave(second)
    assert (opened.meters.waiting, opened.count) == (0, 0)


async def test_only_connections_that_are_expected_to_send_a_head_have_a_limit() -> None:
    opened = with_bounds(head_timeout_s=0.0)
    early, late, served, resting = entered(opened, 4)
    opened.serve(served)
    opened.rest(resting)
    opened.sweep()
    assert early.closed_for == late.closed_for == [Refusal.SLOW]
    assert not served.closed_for
    assert not resting.closed_for
    patient = with_bounds(head_timeout_s=1000.0)
    (waiting,) = entered(patient, 1)
    patient.sweep()
    assert not waiting.closed_for


async def test_few_connections_are_closed_in_a_turn() -> None:
    opened = with_bounds(head_timeout_s=0.0)
    slow = entered(opened, 5 * PER_TURN)
    opened.sweep()
    opened.sweep()  # the first one has not closed all of them yet
    closed = [0]
    while opened.count:
        closed.append(sum(len(connection.closed_for) for connection in slow))
        await asyncio.sleep(0)
    assert max(after - before for before, after in itertools.pairwise(closed)) == PER_TURN
    assert all(connection.closed_for == [Refusal.SLOW] for connection in slow)


async def test_a_request_that_comes_before_its_connection_is_closed_is_served() -> None:
    bounds = Bounds.of(Settings())._replace(head_timeout_s=0.0)
    opened = OpenConnections(bounds, Meters(), Spread(1))
    first, second, third = entered(opened, 3)
    opened.sweep()
    opened.serve(second)
    await until(lambda: third.closed_for)
    assert first.closed_for
    assert not second.closed_for


async def test_it_sweeps_by_itself() -> None:
    opened = with_bounds(head_timeout_s=0.1)
    (slow,) = entered(opened, 1)
    watching = asyncio.create_task(opened.watch())
    await until(lambda: slow.closed_for)
    watching.cancel()


def test_above_all_limits_the_longest_wait_is_over_and_resting_ones_go_first() -> None:
    opened = with_bounds(max_connections=1)  # and a hundred newcomers
    connections = entered(opened, 101)
    resting, served, *expected = connections
    opened.rest(resting)
    opened.serve(served)
    entered(opened, 3)
    assert resting.closed_for == expected[0].closed_for == expected[1].closed_for == [Refusal.FULL]
    assert not any(connection.closed_for for connection in (served, *expected[2:]))
    assert opened.count == 101


def test_a_newcomer_leaves_if_no_other_connection_waits() -> None:
    opened = with_bounds(max_connections=1)
    for connection in entered(opened, 101):
        opened.serve(connection)
    (newcomer,) = entered(opened, 1)
    assert newcomer.closed_for == [Refusal.FULL]
