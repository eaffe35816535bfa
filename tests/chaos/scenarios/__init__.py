"""The faults that the hub is exposed to. Each module has the scenarios of one kind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.chaos.scenarios import (
    answers,
    disconnects,
    flood,
    greedy,
    hostile,
    nodes,
    outages,
    readers,
    states,
    streams,
)
from tests.chaos.stage import Stage


@dataclass(frozen=True)
class Scenario:
    """A scenario.

    Attributes:
        number: in `docs/reliability.md` and in `docs/results/reliability.md`.
        title: a few words.
        play: does it.
        timed: what it shows depends on how busy the machine is, so it is not played beside others.
        beside: it takes long and little, and is played beside the others.
        own_network: it changes what the kernel does with packets, in a network namespace.
    """

    number: int
    title: str
    play: Callable[[Stage], Awaitable[None]]
    timed: bool = False
    beside: bool = False
    own_network: bool = False


SCENARIOS = [
    Scenario(1, "cut after every byte, resumed on the other node", disconnects.every_byte),
    Scenario(2, "random disconnects, two nodes in turn", disconnects.churn),
    Scenario(3, "kill -9 of a node behind HAProxy", nodes.kills, timed=True),
    Scenario(4, "rolling restart by SIGTERM", nodes.rolling_restart, timed=True),
    Scenario(5, "Redis restarted, paused, asleep", outages.restarts, timed=True),
    Scenario(6, "node and Redis in a black hole", outages.black_hole, timed=True),
    Scenario(7, "away while the stream is trimmed", streams.trimmed_away),
    Scenario(8, "a node stopped while the stream cycles", nodes.standstill),
    Scenario(
        9, "a stream deleted, renamed, expired, retyped, flushed", streams.replaced, timed=True
    ),
    Scenario(10, "failover with a lost end", outages.failover),
    Scenario(11, "clients that stop reading", readers.stalled, timed=True, own_network=True),
    Scenario(12, "all clients dropped at once", disconnects.herd, timed=True),
    Scenario(13, "half-open clients", readers.half_open, timed=True, own_network=True),
    Scenario(14, "connect and abort", readers.aborted),
    Scenario(15, "an id of the far future", streams.far_future),
    Scenario(16, "hostile input", hostile.fuzz),
    Scenario(17, "soak", hostile.soak, beside=True),
    Scenario(18, "more clients than max_connections", nodes.full, timed=True),
    Scenario(19, "one address that reads the past again and again", greedy.past, timed=True),
    Scenario(20, "clients that read nothing of the past", greedy.unread),
    Scenario(21, "one address that floods a node", flood.flood, timed=True),
    Scenario(22, "one of two processes that hangs", nodes.hanging, timed=True),
    Scenario(23, "folders that die, and a Redis that forgets", states.forgotten),
    Scenario(24, "answers whose workers, nodes and Redis die", answers.answers, timed=True),
]
