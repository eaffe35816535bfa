"""Each row of the table of beginning: what is asked before the first byte, and what follows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from broadcaster.core.channel import Channel
from broadcaster.core.cursor import Positions, Start
from broadcaster.core.event import ZERO, EventId
from broadcaster.core.log import Answer, AnyQuestion, AtOrBefore, Beginning, Entry, Known, Request
from broadcaster.core.resume.inquiry import Context
from broadcaster.core.resume.opening import Admission, Gone, NoContent, Opening, Refused, Serve
from broadcaster.core.resume.steps import Ask, For, Wait
from broadcaster.core.subscription import Subscription
from broadcaster.core.wanted import Wanted
from broadcaster.core.wire import Shed
from tests.core.resume.test_machine import at, context, event

NOW_MS = 1_000_000
A = Channel(name="a", path="/a")
ORDERS = Channel(name="a", path="/a/{key}", start="earliest", terminal=frozenset({"end"}))
MADE = Channel(name="a", path="/a", requests="a.requests", key_required=True)


class Request_:
    """A request to a node that admits or refuses it as the test says."""

    def __init__(
        self,
        of: Context,
        *,
        channels: tuple[Channel, ...] = (A,),
        keys: Iterable[str] = (),
        positions: Positions | None = None,
        **wanted: Any,
    ) -> None:
        self.reason: Shed | None = None
        subscription = Subscription.to(channels, keys)
        asked = Wanted(channels, subscription, positions or {}, **wanted)
        self.opening = Opening(of, lambda _: self.reason, asked, NOW_MS)
        self.asked: list[Ask] = []

    def step(self) -> Admission:
        step = self.opening.step()
        if isinstance(step, Ask):
            self.asked.append(step)
        return step

    def question(self) -> AnyQuestion:
        step = self.step()
        assert isinstance(step, Ask), step
        return step.question

    def answer(self, answer: Answer) -> None:
        self.opening.answered(self.asked[-1], answer)

    def positions(self) -> Positions:
        step = self.step()
        assert isinstance(step, Serve), step
        return step.positions


def complete() -> Context:
    """A window with all that is retained: 5-0 and 9-0."""
    of = context("a")
    of.windows["a"].restart(at(5).before(), complete=True)
    of.windows["a"].append([event(5, "k"), event(9, "k", "end")])
    return of


def partial_() -> Context:
    """A window with the newest part of what is retained."""
    of = complete()
    of.windows["a"].complete = False
    return of


@pytest.mark.parametrize(
    ("start", "position"),
    [("latest", at(9)), ("earliest", at(5).before()), (7, at(5)), (9, at(5)), (10, at(9)),
     (3, at(5).before())],
)  # fmt: skip
def test_an_answer_that_the_window_has_is_not_asked_for(start: Start, position: EventId) -> None:
    assert Request_(complete(), start=start).positions() == {"a": position}


def test_without_a_start_the_channel_says_where_to_begin() -> None:
    assert Request_(complete()).positions() == {"a": at(9)}
    assert Request_(complete(), channels=(ORDERS,), keys="k").positions() == {"a": at(5).before()}


@pytest.mark.parametrize(("answer", "position"), [(at(2).before(), at(2).before()), (None, at(9))])
def test_the_earliest_is_asked_for(answer: EventId | None, position: EventId) -> None:
    request = Request_(partial_(), start="earliest")
    assert request.question() == Beginning()
    assert request.step() == Wait(For.LOG)
    request.answer(answer)
    assert request.positions() == {"a": position}


def test_a_time_before_the_window_is_asked_for_and_else_the_earliest() -> None:
    request = Request_(partial_(), start=3)
    assert request.question() == AtOrBefore(at(3).before())
    request.answer(at(2))
    assert request.positions() == {"a": at(2)}
    request = Request_(partial_(), start=1)
    request.step()
    request.answer(None)
    assert request.question() == Beginning()
    request.answer(at(2).before())
    assert request.positions() == {"a": at(2).before()}


def test_where_ids_lie_in_the_future_no_time_can_be_found() -> None:
    of = complete()
    of.windows["a"].append([event(NOW_MS + 3_600_000)])
    assert isinstance(Request_(of, start=7).step(), Serve)
    of.windows["a"].append([event(NOW_MS + 3_600_001)])
    refused = Request_(of, start=7).step()
    assert isinstance(refused, Refused)
    assert refused.detail == (
        "the newest id of a, 4600001-0, lies in the future, so no time can be found there: give an "
        "event id, earliest or latest"
    )
    assert isinstance(Request_(of, start="earliest").step(), Serve)


def test_a_client_that_saw_the_end_gets_no_content() -> None:
    returning: dict[str, Any] = {"channels": (ORDERS,), "keys": "k"}
    assert Request_(complete(), positions={"a": at(9)}, **returning).step() == NoContent()
    assert isinstance(Request_(complete(), positions={"a": at(5)}, **returning).step(), Serve)
    other = Request_(complete(), positions={"a": at(9)}, channels=(ORDERS,), keys="l")
    assert isinstance(other.step(), Serve)


@pytest.mark.parametrize("position", [at(4), at(12), at(5)])
def test_an_end_that_is_not_in_the_window_is_asked_for(position: EventId) -> None:
    of = complete()
    if position == at(5):  # the floor: its own entry was evicted
        of.windows["a"].restart(at(5), complete=False)
    request = Request_(of, channels=(ORDERS,), keys="k", positions={"a": position})
    assert request.question() == Entry(position)
    request.answer(event(position.ms, "k", "end"))
    assert request.step() == NoContent()
    request = Request_(of, channels=(ORDERS,), keys="k", positions={"a": position})
    request.step()
    request.answer(None)
    assert isinstance(request.step(), Serve)


def test_a_run_is_asked_for_from_the_head_of_before() -> None:
    of = complete()
    request = Request_(of, channels=(MADE,), keys=["u"], start="earliest")
    assert request.question() == Request("a.requests", "u")
    of.windows["a"].append([event(20)])  # what comes before the answer is after the head
    request.answer(at(15))
    serve = request.step()
    assert isinstance(serve, Serve)
    assert serve.positions == {"a": at(9)}
    assert serve.subscription.keys == {"u#15-0"}
    assert serve.subscription.run == at(15)


def test_a_client_is_shed_where_too_many_requests_wait() -> None:
    request = Request_(complete(), channels=(MADE,), keys=["u"])
    request.question()
    request.answer(None)
    assert request.step() is Shed.REQUESTS


def test_a_run_with_events_in_the_window_is_followed_without_a_question() -> None:
    of = complete()
    of.windows["a"].append([event(20, "u#15-0")])
    request = Request_(of, channels=(MADE,), keys=["u"], positions={"a": at(5)}, run=at(15))
    assert isinstance(request.step(), Serve)


def test_a_run_that_has_an_event_before_the_window_is_followed() -> None:
    of = partial_()
    made = replace(MADE, terminal=frozenset({"end"}))
    request = Request_(of, channels=(made,), keys=["u"], positions={"a": at(2)}, run=at(15))
    assert request.question() == Entry(at(2))
    request.answer(event(2, "u#15-0"))
    assert isinstance(request.step(), Serve)


def test_a_run_that_is_gone_is_told_as_such() -> None:
    request = Request_(complete(), channels=(MADE,), keys=["u"], positions={"a": at(5)}, run=at(15))
    assert request.question() == Known("a.requests", "a", "u", at(15))
    assert request.step() == Wait(For.LOG)
    request.answer(False)
    assert isinstance(request.step(), Gone)


def test_a_run_of_the_cursor_is_followed_without_a_request() -> None:
    request = Request_(complete(), channels=(MADE,), keys=["u"], positions={"a": at(5)}, run=at(15))
    assert isinstance(request.question(), Known)
    request.answer(True)
    serve = request.step()
    assert isinstance(serve, Serve)
    assert serve.subscription.run == at(15)
    assert serve.resumed


def test_an_added_channel_begins_at_its_start() -> None:
    of = context("a", "b")
    for window in of.windows.values():
        window.append([event(5), event(9)])
    channels = A, Channel(name="b", path="/b", start="earliest")
    serve = Request_(of, channels=channels, positions={"a": at(5)}).step()
    assert isinstance(serve, Serve)
    assert serve.positions == {"a": at(5), "b": ZERO}
    assert serve.resumed


def test_several_streams_are_asked_about_at_once() -> None:
    of = context("a", "b")
    for window in of.windows.values():
        window.restart(at(5), complete=False)
    channels = A, Channel(name="b", path="/b")
    request = Request_(of, channels=channels, start="earliest")
    assert (request.question(), request.question()) == (Beginning(), Beginning())
    assert request.step() == Wait(For.LOG)
    for number, asked in enumerate(request.asked):
        request.opening.answered(asked, at(number))
    assert request.positions() == {"a": at(0), "b": at(1)}


def test_an_answer_counts_once_and_only_for_the_last_question() -> None:
    request = Request_(partial_(), start=1)
    request.step()
    request.answer(None)
    request.step()
    request.opening.answered(request.asked[0], at(7))  # late
    request.opening.answered(Ask("b", Beginning()), at(7))  # never asked
    assert request.step() == Wait(For.LOG)
    request.answer(at(2))
    request.answer(at(3))
    assert request.positions() == {"a": at(2)}


@pytest.mark.parametrize("reason", [Shed.DRAINING, Shed.FULL])
def test_the_limit_is_checked_again_after_each_answer(reason: Shed) -> None:
    request = Request_(partial_(), start="earliest")
    request.step()
    request.answer(at(2))
    request.reason = reason
    assert request.step() is reason


def test_an_opening_waits_for_its_windows() -> None:
    request = Request_(complete())
    request.reason = Shed.LOADING
    assert request.step() == Wait(For.WINDOW)
    request.reason = None
    assert isinstance(request.step(), Serve)


def test_an_unreadable_cursor_is_no_claim() -> None:
    serve = Request_(complete(), unreadable="x" * 100).step()
    assert isinstance(serve, Serve)
    assert (serve.positions, serve.resumed, serve.unreadable) == ({"a": at(9)}, False, "x" * 100)
