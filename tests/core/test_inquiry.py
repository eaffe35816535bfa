"""What is known about each stream, and which questions are open."""

from __future__ import annotations

from broadcaster.core.inquiry import Inquiry
from broadcaster.core.log import Exists, PageAfter, Past
from broadcaster.core.rules import Outcome, Situation
from broadcaster.core.steps import Ask
from broadcaster.core.window import Window
from tests.core.test_resume import at, event


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
