"""What is done to the hub. Each module has the scenarios of one kind of trouble."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.chaos.scenarios import disconnects
from tests.chaos.stage import Stage


@dataclass(frozen=True)
class Scenario:
    """A scenario: its number in the table of `docs/reliability.md`, and how to play it."""

    number: int
    title: str
    play: Callable[[Stage], Awaitable[None]]


SCENARIOS = [
    Scenario(1, "cut after every byte, resumed on the other node", disconnects.every_byte),
    Scenario(2, "random disconnects, two nodes in turn", disconnects.churn),
]
