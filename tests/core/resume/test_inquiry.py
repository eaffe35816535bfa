"""The situation of each stream, and its open questions."""

from __future__ import annotations

from broadcaster.core.history.window import Window
from broadcaster.core.log import Exists, PageAfter, Past
from broadcaster.core.resume.inquiry import MAX_ASKED, Inquiry
from broadcaster.core.resume.rules import Outcome, Situation
from broadcaster.core.resume.steps import Ask
from tests.core.resume.test_machine import at, event


def inquiry(ms: int, *, floor: int = 0) -> tuple[Inquiry, Window]:
    window = Window(100, 100_000)
    if floor:
        window.restart(at(floor), complete=False)
    return Inquiry({"a": window}, {"a": at(ms)}), window


def asked(of: Inquiry) -> Ask:
    ask = of.outcome("a")
    assert isinstance(ask, Ask)
    return ask


def test_a_covered_position_asks_nothing() -> None:
    of, window = inquiry(5)
    window.append([event(5)])
    assert of.outcome("a") is Outcome.WINDOW
    assert not of.asks("a")


def test_a_question_is_asked_once() -> None:
    of, _ = inquiry(5)
    ask = asked(of)
    assert (ask.stream, ask.question) == ("a", Exists(at(5)))
    assert of.asks("a")
    assert of.outcome("a") is Outcome.WAIT_LOG
    assert of.answered(ask, False)
    assert of.outcome("a") is Outcome.ROLLBACK
    of.settle("a")
    assert not of.asks("a")


def test_an_answer_that_says_less_than_is_known_has_to_be_asked_for_again() -> None:
    of, _ = inquiry(5, floor=10)
    ask = asked(of)
    assert ask.question == PageAfter(at(5))
    assert not of.answered(ask, Past([], at(5), proven=True))
    assert of.outcome("a") is Outcome.WAIT_LOG
    of.failed(ask)
    assert asked(of).question is not ask.question


def test_a_confirmed_position_waits_for_a_batch_or_a_heartbeat() -> None:
    of, _ = inquiry(5)
    for happens in (lambda: of.grew("a"), of.beat):
        of.begin("a", Situation.CONFIRMED)
        assert of.outcome("a") is Outcome.WAIT_TAILER
        happens()
        assert asked(of).question == Exists(at(5))
        of.grew("a")  # an open question stays open
        assert of.outcome("a") is Outcome.WAIT_LOG
        of.settle("a")
    assert not of.beat()


def test_a_dropped_history_is_found_when_the_stream_was_rewritten() -> None:
    of, window = inquiry(5)
    window.append([event(1), event(5)])
    window.rewind(at(1))
    assert not of.dropped
    of.rewritten("a")
    assert of.dropped == {"a"}
    assert of.outcome("a") is Outcome.ROLLBACK
    of.settle("a")
    assert not of.dropped


def test_few_questions_are_open_at_a_time() -> None:
    """Or each of a thousand clients of a hundred shards would ask a hundred questions at once."""
    streams = [f"s{number}" for number in range(MAX_ASKED + 3)]
    windows = {stream: Window(100, 100_000) for stream in streams}
    of = Inquiry(windows, dict.fromkeys(streams, at(5)))
    found = [of.outcome(stream) for stream in streams]
    assert [isinstance(outcome, Ask) for outcome in found] == [True] * MAX_ASKED + [False] * 3
    assert set(found[MAX_ASKED:]) == {Outcome.WAIT_LOG}
    first, second, third = found[:3]
    assert isinstance(first, Ask)
    assert isinstance(second, Ask)
    assert isinstance(third, Ask)
    of.answered(first, True)
    assert isinstance(of.outcome(streams[-1]), Ask)
    of.failed(second)
    assert isinstance(of.outcome(streams[-2]), Ask)
    of.rewritten(third.stream)
    assert isinstance(of.outcome(streams[-3]), Ask)
    assert of.outcome(third.stream) is Outcome.WAIT_LOG
