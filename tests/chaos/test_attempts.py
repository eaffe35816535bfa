"""The judge of runs finds each fault in a clean log, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.chaos.attempts import Heard, Published, judge, published
from tests.chaos.checker import Fault
from tests.chaos.speech import Said, said, spoken, whole

TOKENS = 12
RUN, OTHER = "17-4", "17-5"
Events = list[tuple[str, str, str]]


def log(run: str = RUN, end: str = "complete") -> Events:
    """One attempt dies, the second one goes on with it, and the third one begins anew."""
    return [
        ("text", run, "".join(spoken(run, 1, 0, 3))),
        ("text", run, "".join(spoken(run, 1, 3, 5))),
        ("stream.restart", run, "{}"),
        ("text", run, "".join(spoken(run, 3, 0, 7))),
        ("text", run, "".join(spoken(run, 3, 7, TOKENS))),
        (end, run, "{}"),
    ]


class World:
    """What was published of two runs, and what a client of the first one has."""

    def __init__(self, end: str = "complete") -> None:
        self.events = [*log(end=end), *log(OTHER)]
        self.states = {RUN: end, OTHER: "complete"}
        self.run, self.end, self.text = RUN, end, whole(RUN, 3, TOKENS)
        self.wrong: tuple[str, ...] = ()

    def published(self) -> dict[str, Published]:
        runs = published(self.events)
        for run, found in runs.items():
            found.state = self.states[run]
        return runs

    def found(self) -> list[Fault]:
        client = Heard("bare one", self.run, self.end, self.text, self.wrong)
        return [finding.fault for finding in judge(self.published(), [client], TOKENS)]


@pytest.mark.parametrize("end", ["complete", "failed", "stopped"])
def test_nothing_is_found_where_all_is_well(end: str) -> None:
    assert World(end).found() == []


def test_a_run_that_no_worker_took_has_expired_and_its_last_event_is_a_failure() -> None:
    world = World()
    world.events = [*log(), ("failed", OTHER, "{}")]
    world.states[OTHER] = "expired"
    assert world.found() == []
    world.events = [*log(), ("complete", OTHER, "{}")]
    assert Fault.WRONG in world.found()


def test_half_an_answer_that_was_stopped_is_no_fault() -> None:
    world = World("stopped")
    world.events = [*log()[:4], ("stopped", RUN, "{}"), *log(OTHER)]
    world.text = whole(RUN, 3, 7)
    assert world.found() == []


def of_two_attempts(world: World) -> None:
    world.text = whole(RUN, 1, 5) + "".join(spoken(RUN, 3, 5, TOKENS))


def of_another_run(world: World) -> None:
    world.text = whole(OTHER, 3, TOKENS)


def with_a_hole(world: World) -> None:
    world.text = whole(RUN, 3, 4) + "".join(spoken(RUN, 3, 5, TOKENS))


def twice(world: World) -> None:
    world.text = whole(RUN, 3, 7) + "".join(spoken(RUN, 3, 3, TOKENS))


def half(world: World) -> None:
    world.text = whole(RUN, 3, 7)


def nothing(world: World) -> None:
    world.text = ""


def without_an_end(world: World) -> None:
    world.end, world.text = "", whole(RUN, 3, 7)


def earlier(world: World) -> None:
    world.text = whole(RUN, 1, 5)


def another_end(world: World) -> None:
    world.end = "failed"


def said_by_itself(world: World) -> None:
    world.wrong = ("a reset",)


def unknown(world: World) -> None:
    world.run, world.text = "99-9", ""


CLIENTS: list[tuple[Callable[[World], None], Fault]] = [
    (of_two_attempts, Fault.WRONG),
    (of_another_run, Fault.WRONG),
    (with_a_hole, Fault.WRONG),
    (twice, Fault.WRONG),
    (half, Fault.LOST),
    (nothing, Fault.LOST),
    (without_an_end, Fault.LOST),
    (earlier, Fault.REORDERED),
    (another_end, Fault.PHANTOM),
    (said_by_itself, Fault.FATAL),
    (unknown, Fault.PHANTOM),
]


@pytest.mark.parametrize(("story", "fault"), CLIENTS)
def test_a_wrong_client_is_found_once(story: Callable[[World], None], fault: Fault) -> None:
    world = World()
    story(world)
    assert world.found() == [fault]


def two_ends(world: World) -> None:
    del world.events[-6:]
    world.states.pop(OTHER)
    world.events[5:] = [("complete", RUN, "{}"), ("failed", RUN, "{}")]


def a_late_text(world: World) -> None:
    world.events.append(("text", OTHER, "late"))


def no_end(world: World) -> None:
    del world.events[-1]


def another_state(world: World) -> None:
    world.states[OTHER] = "running"


def a_mixture(world: World) -> None:
    """A worker that was halted goes on beside the one that took over."""
    world.events.insert(10, ("text", OTHER, "".join(spoken(OTHER, 1, 5, 7))))


def a_short_one(world: World) -> None:
    del world.events[-2]


RUNS: list[tuple[Callable[[World], None], list[Fault]]] = [
    (two_ends, [Fault.DUPLICATE, Fault.PHANTOM]),
    (a_late_text, [Fault.PHANTOM, Fault.WRONG]),
    (no_end, [Fault.LOST]),
    (another_state, [Fault.WRONG]),
    (a_mixture, [Fault.WRONG]),
    (a_short_one, [Fault.LOST]),
]


@pytest.mark.parametrize(("story", "faults"), RUNS)
def test_a_wrong_run_is_found(story: Callable[[World], None], faults: list[Fault]) -> None:
    world = World()
    story(world)
    assert world.found() == faults


@pytest.mark.parametrize("tokens", [0, 1, TOKENS])
def test_a_text_says_how_far_it_has_come(tokens: int) -> None:
    assert said(RUN, whole(RUN, 4, tokens)) == Said(4 if tokens else 0, tokens)


@pytest.mark.parametrize(
    "text", [whole(RUN, 4, 3)[:-1], whole(RUN, 4, 3)[:-2], whole(OTHER, 4, 3), "4.0 ", "x"]
)
def test_what_is_no_beginning_of_an_answer_is_noticed(text: str) -> None:
    assert said(RUN, text) is None
