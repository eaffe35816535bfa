"""Each row of the table of resuming, and answers that come late, twice, never, or out of order."""

from __future__ import annotations

from collections import Counter

import pytest

from broadcaster.core import sse
from broadcaster.core.cursor import Positions
from broadcaster.core.event import ZERO, Event, EventId
from broadcaster.core.filter import KeysAndTypes
from broadcaster.core.history.window import Window
from broadcaster.core.log import Answer, AnyQuestion, AtOrBefore, Beginning, Exists, PageAfter, Past
from broadcaster.core.resume.inquiry import Context
from broadcaster.core.resume.machine import Resume
from broadcaster.core.resume.page import Page, Pages
from broadcaster.core.resume.steps import (
    Ask,
    For,
    Greeting,
    Hello,
    LivePart,
    ResetPart,
    Send,
    Step,
    Wait,
)
from broadcaster.core.sse import Frame
from broadcaster.core.subscription import Subscription

A = Subscription(("a",))
AB = Subscription(("a", "b"))


def at(ms: int) -> EventId:
    return EventId(ms, 0)


def event(ms: int, key: str = "", type_: str = "t") -> Frame:
    return sse.encode(Event(at(ms), type_, key, b"%d" % ms))


def context(*streams: str) -> Context:
    windows = {name: Window(100, 100_000) for name in streams or ("a",)}
    return Context(windows, Pages(windows), Counter(), Counter())


class Reader:
    """A subscriber that catches up, and what it was sent."""

    def __init__(
        self, of: Context, positions: Positions, subscription: Subscription = A, *, claims: bool
    ) -> None:
        self.resume = Resume(of, subscription, positions, resumed=claims, greeting=Greeting(7))
        self.hello = b""
        self.sent: list[object] = []
        self.asked: list[Ask] = []

    def run(self) -> Step:
        """Take steps until it has to wait, joins, is over, or asks."""
        while True:
            step = self.resume.step()
            if isinstance(step, Ask):
                self.asked.append(step)
                return step
            if isinstance(step, Wait):
                return step
            for part in step.parts:
                match part:
                    case Page():
                        self.sent += [frame.id.ms for _, frame in part.placed]
                    case LivePart(_, replayed, _):
                        self.sent.append(("live", replayed))
                    case Hello():
                        self.hello = part.data
                    case _:
                        self.sent.append(part)
            if step.joins or step.over:
                return step

    def question(self) -> AnyQuestion:
        step = self.run()
        assert isinstance(step, Ask), step
        return step.question

    def answer(self, answer: Answer) -> bool:
        return self.resume.answered(self.asked[-1], answer)

    @property
    def told(self) -> list[tuple[str, str, str]]:
        return [
            (part.reason, str(part.requested), str(part.resumed))
            for part in self.sent
            if isinstance(part, ResetPart)
        ]


def claims(of: Context, ms: int) -> Reader:
    return Reader(of, {"a": at(ms)}, claims=True)


# Each row


def test_covered_sends_a_page_of_the_window_and_joins_in_one_step() -> None:
    of = context()
    of.windows["a"].append([event(1), event(2), event(3)])
    reader = claims(of, 1)
    step = reader.run()
    assert isinstance(step, Send)
    assert step.joins
    assert reader.sent == [2, 3, ("live", 2)]
    assert +of.resumes == {"window": 1}


def test_dropped_is_a_rollback_to_where_the_histories_part() -> None:
    of = context()
    of.windows["a"].append([event(1), event(2), event(3)])
    of.windows["a"].rewind(at(1))
    of.windows["a"].append([event(4)])
    reader = claims(of, 3)
    reader.run()
    assert reader.told == [("rollback", "3-0", "1-0")]
    assert reader.sent[1:] == [4, ("live", 1)]


def test_unknown_is_a_reset_to_the_entry_before() -> None:
    of = context()
    of.windows["a"].append([event(2), event(6)])
    reader = claims(of, 4)
    reader.run()
    assert reader.told == [("unknown", "4-0", "2-0")]
    assert reader.sent[1] == 6


def test_behind_sends_proven_pages_of_the_log_up_to_todays_floor() -> None:
    of = context()
    of.windows["a"].restart(at(10), complete=False)
    reader = claims(of, 1)
    assert reader.question() == PageAfter(at(1))
    assert reader.answer(Past([event(2), event(3)], at(3), proven=True))
    assert reader.question() == PageAfter(at(3))
    assert reader.answer(Past([event(10), event(11)], at(11), proven=True))
    reader.run()
    assert reader.sent == [2, 3, 10, ("live", 3)]
    assert +of.resumes == {"redis": 1}


def test_behind_with_nothing_that_follows_waits_for_the_log() -> None:
    """Redis has less than this node: a history was dropped that the tailer has still to notice."""
    of = context()
    of.windows["a"].restart(at(10), complete=False)
    reader = claims(of, 1)
    reader.run()
    assert not reader.answer(Past([], at(1), proven=True))
    assert reader.run() == Wait(For.LOG)
    reader.resume.failed(reader.asked[-1])  # after a pause
    assert reader.question() == PageAfter(at(1))


def test_behind_and_not_proven_is_trimmed() -> None:
    of = context()
    of.windows["a"].restart(at(10), complete=False)
    reader = claims(of, 5)
    reader.run()
    reader.answer(Past([event(8)], at(8), proven=False))
    assert reader.question() == AtOrBefore(at(5))  # where the reset goes on
    reader.answer(at(4))
    assert reader.question() == PageAfter(at(4))
    assert reader.told == [("trimmed", "5-0", "4-0")]


@pytest.mark.parametrize(("beginning", "resumed"), [(at(7).before(), "6-"), (None, "10-0")])
def test_a_reset_before_everything_goes_on_at_the_beginning_or_the_floor(
    beginning: EventId | None, resumed: str
) -> None:
    of = context()
    of.windows["a"].restart(at(10), complete=False)
    reader = claims(of, 5)
    reader.run()
    reader.answer(Past([], at(5), proven=False))
    reader.run()
    reader.answer(None)
    assert reader.question() == Beginning()
    reader.answer(beginning)
    reader.run()
    ((reason, requested, told),) = reader.told
    assert (reason, requested) == ("trimmed", "5-0")
    assert told.startswith(resumed)


def test_a_complete_window_needs_no_question_for_where_a_reset_goes_on() -> None:
    of = context()
    of.windows["a"].restart(at(10).before(), complete=True)
    of.windows["a"].append([event(10)])
    reader = claims(of, 5)
    reader.run()
    reader.answer(Past([], at(5), proven=False))
    reader.run()
    assert [reason for reason, *_ in reader.told] == ["trimmed"]
    assert reader.sent[1:] == [10, ("live", 1)]


def test_ahead_and_in_the_log_waits_for_the_tailer() -> None:
    of = context()
    reader = claims(of, 5)
    assert reader.question() == Exists(at(5))
    reader.answer(True)
    assert reader.run() == Wait(For.TAILER, ("a",))
    of.windows["a"].append([event(4)])
    reader.resume.grew("a")
    assert reader.question() == Exists(at(5))  # not there yet: it may be gone by now
    reader.answer(True)
    reader.run()
    of.windows["a"].append([event(5), event(6)])
    reader.resume.grew("a")
    reader.run()
    assert reader.sent == [6, ("live", 1)]


def test_ahead_and_not_in_the_log_is_a_rollback() -> None:
    of = context()
    of.windows["a"].append([event(3)])
    reader = claims(of, 5)
    reader.run()
    reader.answer(False)
    reader.run()
    assert reader.told == [("rollback", "5-0", "3-0")]


def test_a_heartbeat_repeats_the_question_that_is_waited_for() -> None:
    reader = claims(context(), 5)
    assert not reader.resume.beat()
    reader.run()
    reader.answer(True)
    reader.run()
    assert reader.resume.beat()
    assert reader.question() == Exists(at(5))


# Changes while a subscriber catches up


def test_no_answer_asks_again_after_a_pause() -> None:
    of = context()
    of.windows["a"].restart(at(10), complete=False)
    reader = claims(of, 1)
    reader.run()
    assert reader.run() == Wait(For.LOG)
    reader.resume.failed(reader.asked[-1])
    assert reader.question() == PageAfter(at(1))


@pytest.mark.parametrize("late", [Past([event(2)], at(2), proven=True), False, True])
def test_an_answer_of_before_a_change_of_history_counts_for_nothing(late: Answer) -> None:
    of = context()
    window = of.windows["a"]
    window.append([event(1)])
    reader = claims(of, 5)
    reader.run()
    window.restart(at(9), complete=False)
    reader.resume.rewritten("a")
    assert reader.question() == PageAfter(at(5))
    reader.resume.answered(reader.asked[0], late)
    assert reader.run() == Wait(For.LOG)
    assert not reader.sent
    reader.resume.failed(reader.asked[0])  # as late
    assert reader.run() == Wait(For.LOG)


def test_an_answer_that_comes_twice_counts_once() -> None:
    of = context()
    of.windows["a"].restart(at(10), complete=False)
    reader = claims(of, 1)
    reader.run()
    page = Past([event(2)], at(2), proven=True)
    assert reader.answer(page)
    assert reader.answer(Past([event(3)], at(3), proven=True))
    assert reader.question() == PageAfter(at(2))
    assert reader.resume.answered(reader.asked[0], page)
    assert reader.sent == [2]


def test_streams_do_not_wait_for_each_others_answers() -> None:
    of = context("a", "b")
    of.windows["a"].append([event(1), event(3)])
    of.windows["b"].restart(at(10), complete=False)
    reader = Reader(of, {"a": at(1), "b": at(2)}, AB, claims=True)
    assert reader.question() == PageAfter(at(2))
    assert reader.run() == Wait(For.LOG, ("a",))
    assert reader.sent == [3]
    of.windows["a"].append([event(4)])
    of.pages.forget()
    reader.resume.grew("a")
    assert reader.run() == Wait(For.LOG, ("a",))
    assert reader.sent == [3, 4]
    reader.answer(Past([event(10)], at(10), proven=True))
    step = reader.run()
    assert isinstance(step, Send)
    assert step.joins
    assert reader.sent[2:] == [10, ("live", 3)]


def test_two_streams_are_asked_about_at_once() -> None:
    of = context("a", "b")
    reader = Reader(of, {"a": at(1), "b": at(2)}, AB, claims=True)
    assert (reader.question(), reader.question()) == (Exists(at(1)), Exists(at(2)))
    assert reader.run() == Wait(For.LOG)
    reader.resume.answered(reader.asked[1], True)
    assert reader.run() == Wait(For.LOG, ("b",))
    reader.resume.answered(reader.asked[0], False)
    reader.run()
    assert reader.told == [("rollback", "1-0", "0-0")]


def test_a_subscriber_that_fell_behind_gets_no_second_stream_live() -> None:
    of = context()
    of.windows["a"].append([event(1), event(2)])
    resume = Resume(of, A, {"a": at(1)})
    step = resume.step()
    assert isinstance(step, Send)
    assert step.joins
    assert b"".join([part.data for part in step.parts]) == event(2).wire
    assert not +of.resumes


def test_a_heartbeat_carries_only_a_position_that_was_sent() -> None:
    of = context()
    of.windows["a"].restart(at(10), complete=False)
    reader = claims(of, 1)
    reader.run()
    assert reader.resume.proven() is None
    reader.answer(Past([event(2)], at(2), proven=True))
    reader.run()
    assert reader.resume.proven() == {"a": at(2)}
    fell = Resume(of, A, {"a": at(10)})
    assert fell.proven() == {"a": at(10)}
    of.windows["a"].append([event(11)])
    of.windows["a"].rewind(at(9))
    fell.rewritten("a")
    assert fell.proven() is None


def test_a_page_of_the_window_is_a_position_that_was_sent() -> None:
    of = context()
    of.windows["a"].append([event(1), event(2), event(3)])
    reader = claims(of, 1)
    assert reader.resume.proven() is None
    step = reader.resume.step(max_bytes=1)
    assert isinstance(step, Send)
    assert not step.joins
    assert reader.resume.proven() == {"a": at(2)}


def test_one_that_fell_behind_by_more_than_a_page_gets_no_stream_live_either() -> None:
    of = context()
    of.windows["a"].append([event(1), event(2), event(3)])
    fell, joins = Resume(of, A, {"a": at(1)}), False
    while not joins:
        step = fell.step(max_bytes=1)
        assert isinstance(step, Send)
        assert not any(isinstance(part, LivePart) for part in step.parts)
        joins = step.joins


def test_the_end_comes_with_the_page_that_has_it() -> None:
    of = context()
    order = Subscription(("a",), KeysAndTypes.of(["k"]), terminal=frozenset({"end"}))
    of.windows["a"].append([event(1, "k"), event(2, "k", "end"), event(3, "k")])
    reader = Reader(of, {"a": at(1)}, order, claims=True)
    step = reader.run()
    assert isinstance(step, Send)
    assert (step.over, step.joins, reader.sent) == (True, False, [2])
    assert +of.resumes == {"window": 1}


def test_a_resume_is_counted_once_by_its_source() -> None:
    of = context()
    of.windows["a"].append([event(2), event(6)])
    reader = claims(of, 4)
    reader.run()
    assert +of.resumes == {"reset": 1}
    assert +of.resets == {("a", "unknown"): 1}


# The first bytes


def test_the_first_bytes_have_the_position_if_it_is_proven() -> None:
    of = context()
    of.windows["a"].append([event(1), event(2)])
    proven, ahead = claims(of, 1), claims(of, 5)
    proven.run()
    assert (proven.hello, proven.sent[0]) == (sse.retry(7) + sse.at(b"1-0"), 2)
    ahead.run()
    assert ahead.hello == b"retry: 7\n"


def test_the_position_comes_once_if_nothing_was_missed() -> None:
    of = context()
    of.windows["a"].append([event(1), event(2)])
    send = claims(of, 2).resume.step()
    assert isinstance(send, Send)
    assert b"".join(part.data for part in send.parts) == sse.retry(7) + sse.live(b"2-0", 0)


def test_the_first_bytes_have_the_position_if_a_page_has_nothing_for_the_client() -> None:
    of = context()
    of.windows["a"].append([event(ms, "other") for ms in range(1, 100)])
    typed = Subscription(("a",), KeysAndTypes.of(types=["rare"]))
    resume = Resume(of, typed, {"a": ZERO}, greeting=Greeting(7))
    send = resume.step(1)
    assert isinstance(send, Send)
    assert b"".join(part.data for part in send.parts) == sse.retry(7) + sse.at(b"0-0")


def test_the_first_bytes_do_not_wait_for_an_answer() -> None:
    reader = claims(context(), 5)
    first = reader.resume.step()
    assert isinstance(first, Send)
    assert [part.data for part in first.parts] == [b"retry: 7\n"]
    assert reader.question() == Exists(at(5))


def test_a_reset_that_needs_no_answer_comes_with_the_first_bytes() -> None:
    of = context()
    of.windows["a"].append([event(2), event(6)])
    first = claims(of, 4).resume.step()
    assert isinstance(first, Send)
    assert [type(part) for part in first.parts] == [Hello, ResetPart]
    claims(of, 4).resume.step()
    assert sum(of.resets.values()) == 2


def test_the_reset_of_an_unreadable_cursor_says_where_the_client_begins() -> None:
    of = context()
    of.windows["a"].append([event(1), event(2)])
    resume = Resume(of, A, {"a": ZERO}, greeting=Greeting(7, "rubbish"))
    step = resume.step()
    assert isinstance(step, Send)
    hello, page, _ = step.parts
    assert b'"resumed":"0-0"' in hello.data
    assert isinstance(page, Page)
    assert page.events == 2


def test_an_unreadable_cursor_is_a_reset_of_each_stream() -> None:
    of = context("a", "b")
    greeting = Greeting(7, "x" * 100)
    resume = Resume(of, AB, {"a": at(0), "b": at(0)}, greeting=greeting)
    first = resume.step()
    assert isinstance(first, Send)
    hello = first.parts[0].data
    assert hello.startswith(b"retry: 7\nevent: stream.reset\n")
    assert b"id: " not in hello  # `stream.live` comes at once, and has it
    told = b'"reason":"invalid","requested":"%b","resumed":"0-0"' % (b"x" * 64)
    assert hello.count(told) == 2
    assert +of.resets == {("a", "invalid"): 1, ("b", "invalid"): 1}
    assert +of.resumes == {"reset": 1}
    Resume(of, AB, {"a": at(0), "b": at(0)}, greeting=greeting).step()
    assert +of.resets == {("a", "invalid"): 2, ("b", "invalid"): 2}
    assert +of.resumes == {"reset": 2}


def test_the_reset_of_an_unreadable_cursor_names_the_position_before_the_first_event() -> None:
    of = context("a")
    of.windows["a"].append([event(3), event(4)])
    step = Resume(of, A, {"a": at(0)}, greeting=Greeting(7, "x")).step()
    assert isinstance(step, Send)
    assert [type(part) for part in step.parts[:2]] == [Hello, Page]
    assert b'"resumed":"0-0"' in step.parts[0].data
