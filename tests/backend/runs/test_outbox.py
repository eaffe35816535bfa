"""Texts are joined, and those of all runs share a pipeline. None is lost or doubled."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster import BackendUnavailableError, RunLostError
from broadcaster.backend.runs.outbox import Outbox, Texts
from tests.wait import until

LONG_S = 3_600.0
WRITTEN = "written"


class Redis:
    """What writes batches. It may be away before or after it has written them."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.go.set()
        self.trips: list[list[str]] = []
        self.away = [False]  # for one trip after the other; the last one holds for all that follow
        self.says: dict[str, str | Exception] = {}

    async def write(self, batches: Sequence[tuple[str, int, str, str]]) -> list[str | Exception]:
        await self.go.wait()
        self.trips.append([name for name, *_ in batches])
        away = self.away.pop(0) if len(self.away) > 1 else self.away[0]
        if away:
            raise BackendUnavailableError("away")
        return [self.says.get(name, WRITTEN) for name, *_ in batches]


class Writer:
    """One run: what of it is written, in the order of its numbers."""

    def __init__(self, name: str = "a") -> None:
        self.name = name
        self.number = 0
        self.written: list[tuple[str, str]] = []
        self.texts = Texts(self.batch, self.took)

    def batch(self, type_: str, text: str) -> tuple[str, int, str, str]:
        if text == "bad":
            raise ZeroDivisionError
        return self.name, self.number + 1, type_, text

    def took(self, type_: str, text: str, said: str) -> None:
        if said != WRITTEN:
            raise RunLostError(said)
        self.number += 1
        self.written.append((type_, text))


async def test_the_first_leaves_at_once_and_later_ones_are_joined() -> None:
    run, outbox = Writer(), Outbox(Redis().write, 0.2)
    await outbox.add(run.texts, "t", "a")
    await until(lambda: run.written == [("t", "a")])
    for text in "bcd":
        await outbox.add(run.texts, "t", text)
    assert run.written == [("t", "a")]
    await until(lambda: run.written == [("t", "a"), ("t", "bcd")])
    await outbox.aclose()


async def test_what_comes_while_a_batch_is_on_its_way_is_written_after_it() -> None:
    redis, run = Redis(), Writer()
    redis.go.clear()
    outbox = Outbox(redis.write, 0.05)
    await outbox.add(run.texts, "t", "a")
    await until(lambda: run.texts.sent)
    for text in "bcd":
        await outbox.add(run.texts, "t", text)
    redis.go.set()
    await until(lambda: run.written == [("t", "a"), ("t", "bcd")])
    await outbox.aclose()


async def test_the_end_and_another_type_do_not_wait() -> None:
    run, outbox = Writer(), Outbox(Redis().write, LONG_S)
    for type_, text in (("t", "a"), ("t", "b"), ("u", "c"), ("u", "d")):
        await outbox.add(run.texts, type_, text)
    await outbox.flush(run.texts)
    assert run.written == [("t", "ab"), ("u", "cd")]
    await outbox.flush(run.texts)  # there is nothing
    await outbox.aclose()


async def test_what_is_due_shares_a_pipeline() -> None:
    redis = Redis()
    outbox, runs = Outbox(redis.write, 0.0), [Writer(str(n)) for n in range(50)]
    redis.go.clear()
    for run in runs:
        await outbox.add(run.texts, "t", "a")
    redis.go.set()
    await until(lambda: all(run.written for run in runs))
    assert len(redis.trips) <= 2
    assert sorted(n for trip in redis.trips for n in trip) == sorted(run.name for run in runs)


async def test_a_pipeline_is_short() -> None:
    redis = Redis()
    outbox, runs = Outbox(redis.write, 0.0), [Writer(str(n)) for n in range(250)]
    for run in runs:
        await outbox.add(run.texts, "t", "a")
    await until(lambda: all(run.written for run in runs))
    assert max(map(len, redis.trips)) == 100
    await outbox.aclose()


async def test_a_first_text_and_what_is_flushed_wait_for_no_pipeline_of_others() -> None:
    redis = Redis()
    outbox, slow, other, newest = Outbox(redis.write, 0.0), Writer("slow"), Writer(), Writer("new")
    for run in (slow, other):
        await outbox.add(run.texts, "t", "a")
    await until(lambda: slow.written and other.written)
    redis.go.clear()
    await outbox.add(slow.texts, "t", "b")
    await until(lambda: slow.texts.sent)
    redis.go = asyncio.Event()  # which the batch on its way does not know
    redis.go.set()
    await outbox.add(other.texts, "t", "b")
    await outbox.add(newest.texts, "t", "a")
    await until(lambda: newest.written)
    assert other.written == [("t", "a")]  # it waits for the other pipeline
    await outbox.flush(other.texts)
    assert other.written == [("t", "a"), ("t", "b")]
    assert slow.written == [("t", "a")]
    await outbox.aclose()


async def test_a_batch_on_its_way_is_not_sent_again_when_it_is_flushed() -> None:
    redis, run = Redis(), Writer()
    outbox = Outbox(redis.write, LONG_S)
    redis.go.clear()
    await outbox.add(run.texts, "t", "a")
    await until(lambda: run.texts.sent)
    await outbox.add(run.texts, "t", "b")
    flushing = [asyncio.create_task(outbox.flush(run.texts)) for _ in range(2)]
    for _ in range(5):
        await asyncio.sleep(0)
    redis.go.set()
    await asyncio.gather(*flushing)
    assert run.written == [("t", "a"), ("t", "b")]
    assert redis.trips == [["a"], ["a"]]


async def test_while_redis_is_away_texts_wait_and_a_batch_stays_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("broadcaster.backend.runs.outbox._AGAIN_S", 0.01)
    redis, run = Redis(), Writer()
    redis.away = [True, True, False]
    outbox = Outbox(redis.write, LONG_S)
    await outbox.add(run.texts, "t", "a")
    await until(lambda: len(redis.trips) == 2)
    await outbox.add(run.texts, "t", "b")
    await outbox.flush(run.texts)
    assert run.written == [("t", "a"), ("t", "b")]


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        ("command not allowed when used memory > 'maxmemory'", "(maxmemory)"),
        ("MISCONF Redis is configured", "its own log"),
        ("away", "Nothing is lost"),
    ],
)
async def test_texts_that_wait_are_said_once_with_what_to_do_and_so_is_the_end_of_that(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: str, advice: str
) -> None:
    monkeypatch.setattr("broadcaster.backend.runs.outbox._AGAIN_S", 0.01)
    redis, run = Redis(), Writer()
    redis.says["a"] = BackendUnavailableError(error)
    outbox = Outbox(redis.write, 0.0)
    await outbox.add(run.texts, "t", "a")
    await until(lambda: len(redis.trips) >= 3)
    redis.says.clear()
    for text in "bc":
        await outbox.add(run.texts, "t", text)
        await outbox.flush(run.texts)
    waits, again = caplog.messages
    assert (error in waits, advice in waits) == (True, True)
    assert again == "the texts of runs are written again"
    assert {record.levelname for record in caplog.records} == {"WARNING"}


async def test_one_run_that_is_lost_does_not_harm_the_others() -> None:
    redis, lost, other = Redis(), Writer("lost"), Writer("other")
    redis.says["lost"] = "stopped"
    outbox = Outbox(redis.write, LONG_S)
    for run in (lost, other):
        await outbox.add(run.texts, "t", "a")
    with pytest.raises(RunLostError, match="stopped"):
        await outbox.flush(lost.texts)
    with pytest.raises(RunLostError, match="stopped"):
        await outbox.add(lost.texts, "t", "b")
    await outbox.flush(other.texts)
    assert (lost.written, other.written) == ([], [("t", "a")])


async def test_a_text_that_can_t_be_delivered_reaches_its_writer() -> None:
    run, outbox = Writer(), Outbox(Redis().write, LONG_S)
    await outbox.add(run.texts, "t", "bad")
    with pytest.raises(ZeroDivisionError):
        await outbox.flush(run.texts)


async def test_a_writer_waits_while_too_much_is_gathered() -> None:
    redis, run = Redis(), Writer()
    redis.go.clear()
    outbox = Outbox(redis.write, LONG_S)
    writing = asyncio.create_task(outbox.add(run.texts, "t", "x" * 100_000))
    done, _ = await asyncio.wait([writing], timeout=0.05)
    assert not done
    redis.go.set()
    await writing
    assert [len(text) for _, text in run.written] == [100_000]


async def test_what_is_forgotten_is_not_written_but_what_is_on_its_way_is() -> None:
    redis, run = Redis(), Writer()
    outbox = Outbox(redis.write, LONG_S)
    await outbox.add(run.texts, "t", "a")
    redis.go.clear()
    await until(lambda: run.texts.sent)
    await outbox.add(run.texts, "t", "b")
    forgetting = asyncio.create_task(outbox.forget(run.texts))
    await asyncio.sleep(0)
    redis.go.set()
    await forgetting
    assert run.written == [("t", "a")]


async def test_at_the_end_no_writer_is_left_waiting() -> None:
    redis, run = Redis(), Writer()
    redis.go.clear()
    outbox = Outbox(redis.write, LONG_S)
    await outbox.add(run.texts, "t", "a")
    flushing = asyncio.create_task(outbox.flush(run.texts))
    await until(lambda: outbox._sent)
    await outbox.aclose()
    with pytest.raises(RunLostError):
        await flushing


_STEPS = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from("tu"), st.integers(0, 2)), max_size=12
)


@given(_STEPS, st.lists(st.booleans(), max_size=6))
def test_each_text_is_written_once_and_in_order(
    steps: list[tuple[str, str, int]], away: list[bool]
) -> None:
    async def play() -> None:
        redis, runs = Redis(), {name: Writer(name) for name in "ab"}
        redis.away = [*away, False]
        outbox = Outbox(redis.write, 0.0)
        said: dict[str, list[tuple[str, str]]] = {name: [] for name in runs}
        for number, (name, type_, turns) in enumerate(steps):
            text = f"{number},"
            await outbox.add(runs[name].texts, type_, text)
            said[name].append((type_, text))
            for _ in range(turns):
                await asyncio.sleep(0)
        for name, run in runs.items():
            await outbox.flush(run.texts)
            parts = [(kind, f"{t},") for kind, ts in run.written for t in ts.split(",") if t]
            assert parts == said[name]
            assert run.number == len(run.written)
        await outbox.aclose()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("broadcaster.backend.runs.outbox._AGAIN_S", 0.0)
        patched.setattr("broadcaster.backend.runs.outbox._GATHER_S", 0.0)
        asyncio.run(play())
