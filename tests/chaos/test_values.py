"""The checker of values flags each fault of a state, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import orjson
import pytest

from tests.chaos.checker import Fault, Report, check
from tests.chaos.history import (
    Added,
    Block,
    Chain,
    Cut,
    Id,
    Kind,
    Ledger,
    Recording,
    Subscription,
    digest_of,
    text_of,
)
from tests.chaos.values import check_values

S = Subscription(("s",))


class World:
    """A stream with 40 events of five keys, and one client."""

    def __init__(self, lost_from: int = 40, subscription: Subscription = S) -> None:
        """Let events from a number on exist only before the time 10."""
        self.ledger = Ledger(states={"s": "last"})
        self.recording = Recording()
        self.chain = Chain("one", subscription)
        self.chain.complete = True
        self.recording.chains.append(self.chain)
        self.at_s = 20.0
        for number in range(40):
            data = orjson.dumps({"key": f"k{number % 5}", "n": number})
            added = Added(
                *("s", number, digest_of(data), f"k{number % 5}", "t", 1.0),
                id=(100 + number, 0),
                data=data.decode(),
            )
            self.ledger.added.append(added)
        kept = [added.id for added in self.ledger.added[:lost_from] if added.id]
        if lost_from < 40:
            self.ledger.cuts.append(Cut("s", 10.0, kept))
        self.ledger.final["s"] = {
            added.id: added.digest for added in self.ledger.added[:lost_from] if added.id
        }

    def put(self, kind: Kind, id_: str | None = None, type_: str = "", data: str = "") -> None:
        self.chain.block(len(self.recording.blocks), self.at_s)
        self.recording.blocks.append(Block(kind, id_, type_, data=data))

    def connect(self) -> None:
        self.chain.note("connect", "", self.at_s)

    def state(self, numbers: Iterable[int], keys: int = 5, **more: str) -> None:
        told = {"channel": "s", "keys": keys, **more}
        self.put(Kind.STATE, "state", "stream.state", orjson.dumps(told).decode())
        for number in numbers:
            self.put(Kind.VALUE, None, "t", self.ledger.added[number].data)

    def live(self, number: int) -> None:
        self.put(Kind.LIVE, text_of((100 + number, 0)), "stream.live", "{}")

    def events(self, numbers: Iterable[int]) -> None:
        for added in (self.ledger.added[number] for number in numbers):
            assert added.id
            self.chain.block(len(self.recording.blocks), self.at_s)
            id_ = text_of(added.id)
            self.recording.blocks.append(Block(Kind.EVENT, id_, "t", added.digest))

    def reset(self, to: int, **more: bool) -> None:
        told = {"channel": "s", "reason": "trimmed", "requested": "1-0", **more}
        self.put(
            *(Kind.RESET, None, "stream.reset"),
            orjson.dumps({**told, "resumed": text_of((100 + to, 0))}).decode(),
        )

    def found(self) -> dict[Fault, int]:
        report = Report()
        check_values(self.recording, self.ledger, report)
        return dict(report.counts)


def whole(world: World) -> None:
    world.state(range(15, 20))
    world.live(19)
    world.events(range(20, 40))


def since(world: World) -> None:
    world.state(range(17, 20), keys=3, since=text_of((116, 0)))
    world.live(19)
    world.events(range(20, 22))
    world.live(21)
    world.events(range(22, 40))


def again(world: World) -> None:
    whole(world)
    world.connect()
    world.live(39)
    world.reset(39, state=True)
    world.state(range(35, 37))
    world.connect()
    world.state(range(35, 40))
    world.live(39)


def only_events(world: World) -> None:
    world.live(20)
    world.events(range(21, 40))


@pytest.mark.parametrize("story", [whole, since, again, only_events])
def test_a_right_state_has_no_findings(story: Callable[[World], None]) -> None:
    world = World()
    world.connect()
    story(world)
    assert world.found() == {}


def missing(world: World) -> None:
    world.state(range(16, 20))
    world.live(19)
    world.events(range(20, 40))


def old(world: World) -> None:
    world.state((10, *range(16, 20)))
    world.live(19)
    world.events(range(20, 40))


def too_new(world: World) -> None:
    world.state((20, *range(16, 20)))
    world.live(19)
    world.events(range(20, 40))


def before_since(world: World) -> None:
    world.state(range(15, 20), keys=3, since=text_of((116, 0)))
    world.live(19)
    world.events(range(20, 40))


def keys(world: World) -> None:
    world.state(range(15, 20), keys=6)
    world.live(19)
    world.events(range(20, 40))


def half(world: World) -> None:
    whole(world)
    world.reset(39, state=True)
    world.state(range(35, 37))
    world.connect()
    world.live(39)


def without_state(world: World) -> None:
    whole(world)
    world.reset(39)


def with_position(world: World) -> None:
    world.state(range(15, 20))
    world.put(Kind.CHECKPOINT, "119-0")
    world.live(19)
    world.events(range(20, 40))


def left_out(world: World) -> None:
    world.state(range(15, 20))
    world.live(19)
    world.events(range(20, 39))


WRONG = [missing, old, too_new, before_since, keys, half, without_state, with_position, left_out]


@pytest.mark.parametrize("story", WRONG)
def test_a_wrong_state_is_found_once(story: Callable[[World], None]) -> None:
    world = World()
    world.connect()
    story(world)
    assert world.found() == {Fault.WRONG: 1}


def test_a_value_outside_of_a_state_is_a_phantom() -> None:
    world = World()
    whole(world)
    world.put(Kind.VALUE, None, "t", world.ledger.added[0].data)
    assert world.found() == {Fault.PHANTOM: 1}


@pytest.mark.parametrize(
    ("numbers", "to", "found"),
    [
        (range(25, 30), 29, {}),  # the history without what was lost
        (range(35, 40), 39, {Fault.WRONG: 1}),  # right at that time, and wrong in the end
        ((*range(25, 29), 34), 29, {Fault.WRONG: 1}),
    ],
)
def test_what_redis_has_lost_must_not_stay_in_a_state(
    numbers: Sequence[int], to: int, found: dict[Fault, int]
) -> None:
    world = World(lost_from=30)
    world.state(numbers)
    world.live(to)
    assert world.found() == found


def test_only_the_events_of_a_subscription_count() -> None:
    world = World(subscription=Subscription(("s",), keys=("k0", "k9")))
    world.state((15,), keys=1)
    world.live(19)
    world.events((20, 25, 30, 35))
    assert world.found() == {}


def last_id(world: World) -> Id:
    id_ = world.ledger.added[-1].id
    assert id_
    return id_


def test_a_reset_with_the_state_goes_past_events_that_are_there() -> None:
    world = World()
    world.live(9)
    world.events(range(10, 20))
    world.reset(39, state=True)
    world.state(range(35, 40))
    world.put(Kind.LIVE, text_of(last_id(world)), "stream.live", "{}")
    assert check(world.recording, world.ledger).clean
    assert world.found() == {}


def test_a_reset_whose_state_is_cut_does_not_move_the_position() -> None:
    world = World()
    world.live(9)
    world.events(range(10, 20))
    world.reset(39, state=True)
    world.state(range(35, 37))
    world.connect()
    world.live(24)
    world.events(range(25, 40))
    assert dict(check(world.recording, world.ledger).counts) == {Fault.LOST: 5}
