"""A client that comes back has seen the end of a key, also where only the checkpoint knows it."""

from __future__ import annotations

import pytest

from broadcaster.core.channel import Channel
from broadcaster.core.fanout.hub import Hub
from broadcaster.core.fanout.subscriber import State
from broadcaster.core.log import AnyAnswer, Entry, KeyState, StateOf
from broadcaster.core.resume.opening import Admission, NoContent, Opening, Serve
from broadcaster.core.resume.steps import Ask, Wait
from broadcaster.core.state.values import Value
from broadcaster.core.subscription import Subscription
from broadcaster.core.wanted import Wanted
from tests.core.resume.test_joining import event
from tests.core.resume.test_keyed import answered, at, begun, make_hub, state, value

ORDERS = Channel(name="a", path="/a", state="last", terminal=frozenset({"done"}))
DONE = Value(at(3), "done", "k", b"bye")


def trimmed() -> Hub:
    """A hub whose state is too large, and whose window begins after the end of `k`."""
    return make_hub(event(3, "k", "done"), event(5, "l"), event(6, "l"), window_events=1)


def returning(hub: Hub, ms: int) -> Opening:
    subscription = Subscription.to((ORDERS,), "k")
    wanted = Wanted((ORDERS,), subscription, {"a": at(ms)})
    return Opening(hub.context, lambda _: None, wanted, 10_000)


def asked(opening: Opening) -> Ask:
    step = opening.step()
    assert isinstance(step, Ask), step
    return step


def late(hub: Hub, ms: int, answer: AnyAnswer) -> Admission:
    """What a client gets whose entry is gone, when the checkpoint has said so much."""
    opening = returning(hub, ms)
    first = asked(opening)
    assert first.question == Entry(at(ms))
    opening.answered(first, None)
    second = asked(opening)
    assert second.question == StateOf(frozenset("k"))
    assert isinstance(opening.step(), Wait)
    opening.answered(second, answer)
    return opening.step()


def test_the_position_after_an_ended_state_is_that_of_the_end() -> None:
    client = answered(begun(trimmed()), state(6, value(2), DONE))
    assert [(type_, id_) for type_, _, id_ in client.told[2:]] == [
        ("done", "state"), ("stream.live", "3-0"),
    ]  # fmt: skip
    assert client.subscriber.state is State.ENDED


def test_an_end_that_was_trimmed_is_looked_up_in_the_checkpoint() -> None:
    hub = trimmed()
    assert late(hub, 3, state(6, value(2), DONE)) == NoContent()
    assert late(hub, 4, state(6, value(2), DONE)) == NoContent(), "it has seen more"
    served = late(hub, 2, state(6, value(2), DONE))
    assert isinstance(served, Serve), "it has not seen the end"


@pytest.mark.parametrize(
    "answer", [None, state(6), state(6, value(2)), state(6, DONE, value(4))], ids=str
)
def test_what_the_checkpoint_does_not_call_over_goes_on(answer: KeyState | None) -> None:
    assert isinstance(late(trimmed(), 3, answer), Serve)


def test_an_end_that_is_retained_costs_one_question() -> None:
    opening = returning(trimmed(), 3)
    opening.answered(asked(opening), event(3, "k", "done"))
    assert opening.step() == NoContent()
