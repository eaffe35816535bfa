"""The way of questions to the log: pauses, shared trouble, and windows that are still loading."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from broadcaster.core.channel import Channel
from broadcaster.core.event import EventId
from broadcaster.core.fanout.turns import Reader
from broadcaster.core.log import Answer, AnyQuestion, Exists, PageAfter
from broadcaster.core.resume.machine import Resume
from broadcaster.core.resume.opening import Opening, Serve
from broadcaster.core.resume.steps import Ask, For, Greeting, Wait
from broadcaster.core.subscription import Subscription
from broadcaster.core.wanted import Wanted
from broadcaster.core.wire import Shed
from broadcaster.errors import BackendUnavailableError
from broadcaster.node.questions import Questions
from tests.core.resume.test_machine import A, at, context
from tests.wait import PATIENCE_S

CHANNEL = Channel(name="a", path="/a")


class Log:
    """Gives the answers of a test in order. If an answer is an exception, it is raised."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, AnyQuestion]] = []
        self.pauses = 0

    async def ask(self, stream: str, question: AnyQuestion, _: Reader | None = None) -> Answer:
        self.asked.append((stream, question))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def pause(self) -> None:
        self.pauses += 1

    def questions(self) -> Questions:
        return Questions(self.ask, pause=self.pause)


def behind() -> tuple[Resume, Ask]:
    """A machine that asks about a position ahead of the window."""
    resume = Resume(context(), A, {"a": at(5)}, resumed=True, greeting=Greeting(1))
    resume.step()
    ask = resume.step()
    assert isinstance(ask, Ask)
    return resume, ask


async def test_an_answer_reaches_the_machine_and_wakes_its_connection() -> None:
    log, woken = Log(True), asyncio.Event()
    resume, ask = behind()
    async with asyncio.timeout(PATIENCE_S):
        await log.questions().ask(resume, ask, woken.set)
        await woken.wait()
    assert log.asked == [("a", Exists(at(5)))]
    assert resume.step() == Wait(For.TAILER, ("a",))
    assert log.pauses == 0


async def test_a_log_that_is_away_is_asked_again_after_a_pause() -> None:
    log, woken = Log(BackendUnavailableError("away")), asyncio.Event()
    resume, ask = behind()
    await log.questions().answer(resume, ask, woken.set)
    assert (log.pauses, woken.is_set()) == (1, True)
    assert isinstance(resume.step(), Ask)


@pytest.mark.parametrize("answer", [OSError("a mistake of the log"), EventId(9, 9)])
async def test_a_log_that_fails_in_any_way_is_asked_again_after_a_pause(
    answer: Answer | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    log, woken = Log(answer), asyncio.Event()
    resume, ask = behind()
    await log.questions().answer(resume, ask, woken.set)
    assert (log.pauses, woken.is_set()) == (1, True)
    assert isinstance(resume.step(), Ask)
    assert "Exists(position=" in caplog.text


async def _loads() -> bool:
    return True


@pytest.mark.parametrize(
    ("answer", "said"), [(OSError("a mistake of the log"), "a mistake of the log"), (True, "True")]
)
async def test_a_request_that_meets_a_mistake_of_the_log_may_come_again(
    answer: Answer | Exception, said: str
) -> None:
    wanted = Wanted((CHANNEL,), Subscription(("a",)), start="earliest")
    of = context()
    of.windows["a"].restart(at(5), complete=False)
    opening = Opening(of, lambda _: None, wanted, 0)
    questions = Log(answer).questions()
    with pytest.raises(BackendUnavailableError, match=said):
        await questions.open(opening, opening.step(), _loads)


@pytest.mark.parametrize("loads", [True, False])
async def test_windows_are_waited_for_once(loads: bool) -> None:
    reason: Shed | None = Shed.LOADING

    async def load() -> bool:
        nonlocal reason
        reason = None if loads else Shed.LOADING
        return loads

    opening = Opening(context(), lambda _: reason, Wanted((CHANNEL,), Subscription(("a",))), 0)
    found = await Log().questions().open(opening, opening.step(), load)
    assert isinstance(found, Serve) if loads else found is Shed.LOADING


async def test_clients_whose_filters_leave_out_the_window_have_its_pages_one_by_one() -> None:
    woken, rests, held = list[str](), list[float](), asyncio.Event()

    async def rest(seconds: float) -> None:
        rests.append(seconds)
        await held.wait()

    questions = Questions(Log().ask, rest=rest)
    tasks = []
    for name in ("a1", "a2", "a3", "a4", "b"):
        reader = Reader(name[0])
        reader.charge(0.01)
        tasks.append(questions.rest(reader, partial(woken.append, name)))
    for _ in range(5):
        await asyncio.sleep(0)
    assert (woken, rests) == (["a1"], [0.05])
    tasks[1].cancel()  # it leaves
    held.set()
    await asyncio.wait(tasks)
    assert woken == ["a1", "a4", "b", "a3"]


async def test_a_client_whose_last_page_was_left_out_rests_before_the_next_one() -> None:
    rests: list[float] = []

    async def rest(seconds: float) -> None:
        rests.append(seconds)

    reader = Reader()
    resume, ask = behind()
    page, short = ask._replace(question=PageAfter(at(1))), ask
    log = Log(*[BackendUnavailableError("away")] * 4)
    questions = Questions(log.ask, pause=log.pause, rest=rest)
    await questions.answer(resume, page, lambda: None, reader)  # it has had no page yet
    reader.charge(0.01)
    await questions.answer(resume, short, lambda: None, reader)
    await questions.answer(resume, page, lambda: None, reader)
    reader.sent(1.0)  # all of the last page was for it
    await questions.answer(resume, page, lambda: None, reader)
    assert rests == [0.05]
