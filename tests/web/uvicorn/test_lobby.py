"""Connections without a request are counted, and wait for a limited time."""

from __future__ import annotations

import asyncio
from typing import Any

from broadcaster.core.counters import Meters
from broadcaster.core.wire import Refusal
from broadcaster.settings import Settings
from broadcaster.web.uvicorn.lobby import Bounds, Lobby
from tests.wait import until


class Connection:
    """A connection that notes why it was given up."""

    def __init__(self, lobby: Lobby) -> None:
        self.given_up: list[Refusal] = []
        self._lobby = lobby

    def give_up(self, reason: Refusal) -> None:
        self.given_up.append(reason)
        self._lobby.leave(self)


def lobby_of(**bounds: Any) -> Lobby:
    return Lobby(Bounds.of(Settings())._replace(**bounds), Meters())


def entered(lobby: Lobby, count: int) -> list[Connection]:
    made = [Connection(lobby) for _ in range(count)]
    for connection in made:
        lobby.enter(connection)
    return made


def test_connections_wait_unless_a_request_is_answered() -> None:
    lobby = lobby_of()
    first, second = entered(lobby, 2)
    assert lobby.meters.waiting == 2
    lobby.serve(first)
    assert lobby.meters.waiting == 1
    lobby.rest(first)
    lobby.expect(first)
    assert lobby.meters.waiting == 2
    lobby.leave(first)
    lobby.leave(second)
    assert (lobby.meters.waiting, lobby.connections) == (0, 0)


def test_only_connections_that_are_expected_to_send_a_head_have_a_limit() -> None:
    lobby = lobby_of(head_timeout_s=0.0)
    early, late, served, resting = entered(lobby, 4)
    lobby.serve(served)
    lobby.rest(resting)
    lobby.sweep()
    assert early.given_up == late.given_up == [Refusal.SLOW]
    assert not served.given_up
    assert not resting.given_up
    patient = lobby_of(head_timeout_s=1000.0)
    (waiting,) = entered(patient, 1)
    patient.sweep()
    assert not waiting.given_up


async def test_it_sweeps_by_itself() -> None:
    lobby = lobby_of(head_timeout_s=0.1)
    (slow,) = entered(lobby, 1)
    watching = asyncio.create_task(lobby.watch())
    await until(lambda: slow.given_up)
    watching.cancel()


def test_above_all_limits_the_longest_wait_is_over_and_resting_ones_go_first() -> None:
    lobby = lobby_of(max_connections=1)  # and a hundred newcomers
    connections = entered(lobby, 101)
    resting, served, *expected = connections
    lobby.rest(resting)
    lobby.serve(served)
    entered(lobby, 3)
    assert resting.given_up == expected[0].given_up == expected[1].given_up == [Refusal.FULL]
    assert not any(connection.given_up for connection in (served, *expected[2:]))
    assert lobby.connections == 101


def test_a_newcomer_leaves_if_no_other_connection_waits() -> None:
    lobby = lobby_of(max_connections=1)
    for connection in entered(lobby, 101):
        lobby.serve(connection)
    (newcomer,) = entered(lobby, 1)
    assert newcomer.given_up == [Refusal.FULL]
