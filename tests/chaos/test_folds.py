"""What events add up to: the fold of the checker and that of the hub are the same."""

from __future__ import annotations

import random

import pytest

from broadcaster.core.entry import frame_of
from broadcaster.core.event import EventId
from broadcaster.core.state.fold import Fold
from broadcaster.core.state.values import Rules
from tests.chaos.facts import STREAMS, Facts
from tests.chaos.folds import APPENDED, REMOVES, Held, take
from tests.chaos.history import Ledger


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("seed", range(5))
def test_the_state_of_the_hub_adds_up_to_what_the_events_do(kind: str, seed: int) -> None:
    chance = random.Random(seed)
    facts = Facts("redis://127.0.0.1:1", Ledger(), chance, keys=("k",))
    fold = Fold(Rules(kind, frozenset({REMOVES}), APPENDED))  # type: ignore[arg-type]
    held: Held = {}
    for number in range(1, 400):
        key = f"k{chance.randrange(4)}"
        type_, data = facts._made(kind, number, key)
        fold.apply([frame_of(EventId(number, 0), type=type_, key=key, data=data.decode())])
        take(held, kind, type_, data.decode())
        state: Held = {}
        for values in fold.cut().values.values():
            for value in values:
                take(state, kind, value.type, value.data.decode())
        assert state == held
    assert held
