from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgpack
import orjson
import pytest
from redis.exceptions import ConnectionError as NoConnection

from broadcaster import (
    BackendUnavailableError,
    ConfigurationError,
    InvalidEventError,
    Publisher,
    Run,
    RunLostError,
    RunQueue,
    RunStoppedError,
)
from broadcaster.backend.runs.records import Records
from broadcaster.backend.runs.values import Asked, Piece
from broadcaster.core.runs.record import RunKeys, new_run
from tests.backend.conftest import NOBODY, events_of
from tests.channels import named
from tests.wait import PATIENCE_S, until

REQUESTS = "answers.requests"
CHANNELS = named("answers", requests=REQUESTS)
SOON_S = 0.05


@pytest.fixture(params=["single", "cluster"])
async def worker(
    request: pytest.FixtureRequest, redis_url: str, cluster_url: str
) -> AsyncIterator[Publisher]:
    url = redis_url if request.param == "single" else cluster_url
    async with Publisher(url, channels=CHANNELS) as publisher:
        await publisher.redis.flushall()
        yield publisher


def queue(publisher: Publisher, takeover_s: float = 60.0) -> RunQueue:
    return RunQueue(publisher, "answers", takeover_s=takeover_s)


async def ask(publisher: Publisher, key: str = "user") -> str:
    id: bytes = await publisher.redis.execute_command("XADD", REQUESTS, "*", "key", key)
    return id.decode()


async def one(queue: RunQueue) -> Run:
    """Return the next run. A run of another worker comes only after that worker was silent."""

    async def take() -> list[Run]:
        return await queue.take(1)

    (run,) = await until(take)
    return run


async def published(publisher: Publisher) -> list[tuple[str, str, bytes]]:
    return [(e.type, e.key, e.data) for e in await events_of(publisher.redis, "answers")]


async def test_a_request_is_answered_once_and_gone(worker: Publisher) -> None:
    id = await ask(worker)  # before there is any worker
    mine, other = queue(worker), queue(worker)
    run = await one(mine)
    assert (run.id, run.key, run.body, run.pieces, run.finished) == (id, "user", b"", [], False)
    assert await worker.redis.xlen(REQUESTS) == 0
    assert await other.take(1) == []
    await run.publish(type="piece", data=1)
    assert run.pieces == [Piece("piece", b"1")]
    assert await run.complete(data={"total": 1})
    assert not await run.complete(data={"total": 1})
    assert run.finished
    assert await published(worker) == [
        ("piece", f"user#{id}", b"1"),
        ("complete", f"user#{id}", b'{"total":1}'),
    ]
    assert 0 <= run.age_s < 60
    await mine.aclose()
    await other.aclose()
    assert await worker.redis.xinfo_consumers(REQUESTS, "workers") == []


async def test_a_run_with_an_id_of_its_own_and_a_body(worker: Publisher) -> None:
    id = new_run(b"0123456789abcdef")
    records = Records(worker.redis, "answers", None)
    await records.create(id, Asked("user", str(id), "", b"why?", 60.0, 60.0))
    await worker.redis.xadd(REQUESTS, {"key": "user", "run": str(id)})
    run = await one(queue(worker))
    assert (run.id, run.key, run.body, run.attempt) == (str(id), "user", b"why?", 1)
    await run.publish(data="because")
    assert await published(worker) == [("message", str(id), b"because")]


async def test_waiting_for_a_request(worker: Publisher) -> None:
    mine = queue(worker)
    assert await mine.take(1, wait_s=0.01) == []
    waiting = asyncio.create_task(mine.take(10, wait_s=3.0))
    id = await ask(worker)
    assert [run.id for run in await waiting] == [id]


async def test_a_dead_worker_s_run_goes_on_where_it_stopped(worker: Publisher) -> None:
    await ask(worker)
    dead = await one(queue(worker, SOON_S))
    await dead.publish(type="piece", data="a")
    living = await one(queue(worker, SOON_S))
    assert (living.attempt, living.text) == (2, "a")
    # The dead one was only asleep: it must not publish what the other one will.
    with pytest.raises(RunLostError, match="another worker has it now"):
        await dead.publish(type="piece", data="b")
    with pytest.raises(RunLostError):
        await dead.complete(data=None)
    await living.publish(type="piece", data="b")
    assert await living.complete(data=None)
    assert [event[2] for event in await published(worker)] == [b"a", b"b", b"null"]


async def test_a_worker_that_takes_over_may_begin_anew(worker: Publisher) -> None:
    await ask(worker)
    await (await one(queue(worker, SOON_S))).publish(type="piece", data="a")
    run = await one(queue(worker, SOON_S))
    await run.restart()
    assert run.text == ""
    await run.publish(type="piece", data="b")
    assert (await one(queue(worker, SOON_S))).text == "b"
    redis: Any = worker.redis
    entries = await redis.xrange("answers")
    assert [fields.get(b"type") for _, fields in entries] == [None, b"stream.restart", None]


async def test_a_piece_is_published_once_though_its_answer_was_lost(
    worker: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask(worker)
    run = await one(queue(worker))
    write = Records.write

    async def unheard(*args: Any, **options: Any) -> str:
        await write(*args, **options)
        raise BackendUnavailableError

    calls: list[Callable[[], Awaitable[None]]] = [partial(run.publish, data="a"), run.restart]
    for publish in calls:
        with monkeypatch.context() as patched:
            patched.setattr(Records, "write", unheard)
            with pytest.raises(BackendUnavailableError):
                await publish()
        # It is not known whether it was written, so nothing else may be.
        for other in (run.publish(data="b"), run.complete()):
            with pytest.raises(RuntimeError, match="again first"):
                await other
        await publish()
    await run.publish(data="b")
    assert await worker.redis.xlen("answers") == 3


async def test_texts_are_joined_and_published_before_anything_else(worker: Publisher) -> None:
    await ask(worker)
    run = await one(RunQueue(worker, "answers", batch_s=3_600.0))
    for text in ("be", "cau", "se "):
        await run.write(text)
    await run.publish(type="source", data={"n": 1})
    await run.write("blue")
    await run.write("!", type="aside")
    assert await run.complete(data=None)
    assert [(type_, data) for type_, _, data in await published(worker)] == [
        ("text", b"because "),
        ("source", b'{"n":1}'),
        ("text", b"blue"),
        ("aside", b"!"),
        ("complete", b"null"),
    ]
    assert run.text == 'because {"n":1}blue!'


async def test_a_run_that_fails_has_all_texts_and_one_that_restarts_none(worker: Publisher) -> None:
    await ask(worker)
    run = await one(RunQueue(worker, "answers", batch_s=3_600.0))
    await run.write("a")
    await run.flush()
    await run.write("old")
    await run.restart()
    await run.write("new")
    assert await run.fail("trouble")
    redis: Any = worker.redis
    assert len(await redis.xrange("answers")) == 4
    assert [data for _, _, data in await published(worker)][-2:] == [
        b"new",
        b'{"reason":"trouble"}',
    ]


async def test_a_text_is_published_once_though_its_answer_was_lost(
    worker: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask(worker)
    run = await one(queue(worker))
    write_all, trips = Records.write_all, list[int]()

    async def unheard(self: Records, writes: Any, lease_s: float) -> Any:
        said = await write_all(self, writes, lease_s)
        trips.append(len(writes))
        if len(trips) == 1:
            raise BackendUnavailableError
        return said

    run._outbox._write = partial(unheard, run._records, lease_s=60.0)
    await run.write("a")
    await run.flush()
    await run.write("b")
    await run.flush()
    assert trips == [1, 1, 1]
    assert [data for _, _, data in await published(worker)] == [b"a", b"b"]


async def test_while_redis_is_full_texts_wait_and_the_log_says_so(
    worker: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    await ask(worker)
    run = await one(queue(worker))
    try:
        await worker.redis.config_set("maxmemory", 1)
        await run.write("a")
        await until(lambda: "Give Redis more memory (maxmemory)" in caplog.text)
    finally:
        await worker.redis.config_set("maxmemory", 0)
    await run.flush()
    assert [data for _, _, data in await published(worker)] == [b"a"]
    assert len([text for text in caplog.messages if "the texts of runs" in text]) == 2


async def test_a_worker_that_was_halted_writes_no_text(worker: Publisher) -> None:
    await ask(worker)
    dead = await one(queue(worker, SOON_S))
    await dead.write("a")
    await dead.flush()
    living = await one(queue(worker, SOON_S))
    await dead.write("late")
    with pytest.raises(RunLostError, match="another worker has it now"):
        await dead.flush()
    with pytest.raises(RunLostError):
        await dead.write("later")
    await living.write("b")
    await living.complete(data=None)
    assert [data for _, _, data in await published(worker)] == [b"a", b"b", b"null"]


async def test_what_can_t_be_delivered_is_refused_and_the_run_goes_on(
    worker: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask(worker)
    run = await one(queue(worker))
    with pytest.raises(InvalidEventError):
        await run.publish(type="stream.restart")
    with monkeypatch.context() as patched:
        patched.setattr(Records, "write", _refused)
        with pytest.raises(ConfigurationError):
            await run.publish(data="a")
    await run.publish(data="b")
    assert [event[2] for event in await published(worker)] == [b"b"]


async def _refused(*_: object, **__: object) -> str:
    raise ConfigurationError("no right")


async def test_a_run_that_fails_and_one_that_is_stopped(worker: Publisher) -> None:
    for _ in range(2):
        await ask(worker)
    mine = queue(worker)
    failing, stopped = await mine.take(2)
    assert await failing.fail("the model is away")
    assert not await failing.fail("the model is away")
    with pytest.raises(RunLostError, match="it is failed"):
        await failing.publish(data="late")
    assert await mine.keep() == []
    await Records(worker.redis, "answers", None).stop(stopped.id)
    assert await mine.keep() == [stopped]
    assert await mine.keep() == []
    for late in (stopped.publish(data="late"), stopped.complete(), stopped.restart()):
        with pytest.raises(RunStoppedError):
            await late
    assert [(type, data) for type, _, data in await published(worker)] == [
        ("failed", b'{"reason":"the model is away"}'),
        ("stopped", b"{}"),
    ]


async def test_a_run_that_a_batch_has_found_stopped_is_returned_once(worker: Publisher) -> None:
    await ask(worker)
    mine = RunQueue(worker, "answers", batch_s=0.0)
    run = await one(mine)
    await run.write("a")
    await run.flush()
    await Records(worker.redis, "answers", None).stop(run.id)
    await run.write("b")
    with pytest.raises(RunStoppedError):
        await run.flush()
    assert await mine.keep() == [run]
    with pytest.raises(RunStoppedError):
        await run.complete()
    assert await mine.keep() == []


async def test_a_slow_worker_that_says_that_it_lives_keeps_its_run(worker: Publisher) -> None:
    await ask(worker)
    slow, other = queue(worker, 1.0), queue(worker, 1.0)
    run = await one(slow)
    loop = asyncio.get_running_loop()
    end_s = loop.time() + 2.0

    async def kept_for_long() -> bool:
        await slow.keep()
        assert await other.take(1) == []
        return loop.time() > end_s

    await until(kept_for_long)
    await run.publish(type="piece", data=1)
    # Released, it is kept no longer.
    slow.release(run)

    async def taken_over() -> list[Run]:
        await slow.keep()
        return await other.take(1)

    assert (await until(taken_over))[0].id == run.id


async def test_a_worker_that_was_silent_takes_its_own_run_as_another_would(
    worker: Publisher,
) -> None:
    await ask(worker)
    mine = queue(worker, 0.5)
    before = await one(mine)
    after = await one(mine)
    assert after.attempt == 2
    with pytest.raises(RunLostError):
        await before.publish(data="a")
    assert await after.complete(data=None)


async def test_news_of_an_older_run_does_not_end_the_newer_one_of_the_same_request(
    worker: Publisher,
) -> None:
    await ask(worker)
    mine = queue(worker, 0.5)
    before = await one(mine)
    after = await one(mine)
    with pytest.raises(RunLostError):
        await before.publish(data="a")
    mine.release(before)
    await Records(worker.redis, "answers", None).stop(after.id)
    assert await mine.keep() == [after]  # so it was kept up to now


@pytest.mark.parametrize("lost", ["a beginning", "the removal of a request"])
async def test_a_request_taken_before_redis_goes_away_is_found_again(
    worker: Publisher, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    begin, delete, deleted = Records.begin, RunQueue._delete, list[str]()

    async def begin_the_first(records: Records, run: str, asked: Any, lease_s: float) -> Any:
        if asked and asked.key == "second":
            raise BackendUnavailableError("gone")
        return await begin(records, run, asked, lease_s)

    async def delete_the_first(queue: RunQueue, request: str) -> None:
        deleted.append(request)
        if len(deleted) == 2:
            raise NoConnection("gone")
        await delete(queue, request)

    for key in ("first", "second"):
        await ask(worker, key)
    failing, other = queue(worker, SOON_S), queue(worker, SOON_S)
    with monkeypatch.context() as patched:
        if lost == "a beginning":
            patched.setattr(Records, "begin", begin_the_first)
        else:
            patched.setattr(RunQueue, "_delete", delete_the_first)
        with pytest.raises(BackendUnavailableError):
            await failing.take(2)
    found: set[str] = set()

    async def both() -> bool:
        await failing.keep()  # it lives, and says so
        found.update(run.key for run in await other.take(2))
        return found == {"first", "second"}

    await until(both)


async def test_a_request_that_is_given_back_is_taken_at_once(worker: Publisher) -> None:
    id = await ask(worker)
    leaving, staying = queue(worker), queue(worker)
    await one(leaving)
    await leaving.aclose()
    assert [run.id for run in await staying.take(1)] == [id]


async def test_a_request_without_a_key_is_dropped(worker: Publisher) -> None:
    await worker.redis.xadd(REQUESTS, {"other": "field"})
    good = await ask(worker)
    assert [run.id for run in await queue(worker).take(10)] == [good]
    assert await worker.redis.xlen(REQUESTS) == 0


async def test_redis_lost_everything(worker: Publisher) -> None:
    await ask(worker)
    mine = queue(worker)
    run = await one(mine)
    await worker.redis.flushall()
    with pytest.raises(RunLostError, match="does not know it"):
        await run.publish(type="piece", data=1)
    id = await ask(worker)
    assert [run.id for run in await mine.take(1)] == [id]


async def test_trouble_is_named(redis_url: str, client: Any) -> None:
    async with Publisher(NOBODY, channels=CHANNELS) as publisher:
        with pytest.raises(BackendUnavailableError):
            await queue(publisher).take(1)
    await client.set(REQUESTS, "no stream")
    async with Publisher(redis_url, channels=CHANNELS) as publisher:
        with pytest.raises(ConfigurationError, match="WRONGTYPE"):
            await queue(publisher).take(1)


async def test_a_request_that_is_too_old_is_not_begun(worker: Publisher) -> None:
    now_ms = time.time_ns() // 1_000_000
    for ms, ttl in ((now_ms - 5_000, "1000"), (now_ms - 4_000, "60000"), (now_ms - 3_000, "x")):
        await worker.redis.xadd(REQUESTS, {"key": ttl, "ttl_ms": ttl}, id=f"{ms}-0")
    taken = await queue(worker).take(5)
    assert [run.key for run in taken] == ["60000", "x"]
    assert await worker.redis.xlen(REQUESTS) == 0


async def test_a_run_that_has_begun_is_finished_however_old_its_request_is(
    worker: Publisher,
) -> None:
    await worker.redis.xadd(REQUESTS, {"key": "k", "ttl_ms": "100"}, id="5-0")
    state = orjson.dumps(["another", ["1"], False, 0])
    await worker.redis.set("{answers}:run:5-0", state)
    run = await one(queue(worker))
    assert (run.id, run.pieces) == ("5-0", [Piece("", b"1")])


async def test_the_record_of_a_complete_run_is_not_kept_for_long(worker: Publisher) -> None:
    await ask(worker)
    run = await one(queue(worker))
    await run.publish(type="t", data=1)
    record = RunKeys.of("answers", run.id).record
    assert await worker.redis.ttl(record) > 3_000
    redis: Any = worker.redis
    size = await redis.memory_usage(record)
    for number in range(100):
        await run.publish(type="t", data=number)
    assert await redis.memory_usage(record) <= size + 16  # a counter, and no list
    await run.complete(data="end")
    assert 0 < await worker.redis.ttl(record) <= 300


# With processes

WORKER = """
import asyncio, sys
from broadcaster import Channel, Publisher, RunLostError, RunQueue

async def main(url, name, takeover_s, anew):
    channel = Channel(name="answers", path="/a", requests="answers.requests")
    async with Publisher(url, channels=[channel]) as publisher:
        queue = RunQueue(publisher, "answers", takeover_s=float(takeover_s))
        while not (runs := await queue.take(1, wait_s=0.2)):
            pass
        (run,) = runs
        print("took", run.text, flush=True)
        try:
            if anew == "anew":
                await run.restart()
            while len(run.pieces) < 8:
                await run.publish(data=f"{name}{len(run.pieces) + 1} ")
                await asyncio.sleep(0.05)
            await run.complete(data="")
        except RunLostError:
            print("lost", flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


class Worker:
    """A process that answers one request with eight pieces."""

    def __init__(self, log: Path, *arguments: str) -> None:
        self._log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen([sys.executable, "-c", WORKER, *arguments], stdout=out)

    def said(self) -> list[str]:
        return self._log.read_text().splitlines()


@pytest.fixture
def two(tmp_path: Path, redis_url: str) -> Iterator[Any]:
    started = list[Worker]()

    def start(name: str, takeover_s: str, anew: str = "") -> Worker:
        started.append(Worker(tmp_path / name, redis_url, name, takeover_s, anew))
        return started[-1]

    yield start
    for worker in started:
        worker.process.kill()
        worker.process.wait()


@pytest.mark.parametrize("anew", ["", "anew"])
async def test_a_worker_that_is_halted_and_wakes_up_mixes_nothing_in(
    two: Any, client: Any, anew: str
) -> None:
    await client.xadd(REQUESTS, {"key": "user"})
    first = two("A", "0.5")
    await until(lambda: _length(client, 3))
    first.process.send_signal(signal.SIGSTOP)
    length = await client.xlen("answers")
    second = two("B", "0.5", anew)
    await until(lambda: any("B" in text for text in second.said()) or _length(client, length + 2))
    first.process.send_signal(signal.SIGCONT)
    assert first.process.wait(PATIENCE_S) == second.process.wait(PATIENCE_S) == 0
    assert first.said()[-1] == "lost"
    events = await events_of_all(client)
    so_far = [f"A{n} " for n in range(1, length + 1)]
    assert second.said() == [f"took {''.join(so_far)}"]
    if anew:
        expected = [*so_far, "{}", *(f"B{n} " for n in range(1, 9)), ""]
    else:
        expected = [*so_far, *(f"B{n} " for n in range(length + 1, 9)), ""]
    assert events == expected


async def _length(client: Any, least: int) -> bool:
    return bool(await client.xlen("answers") >= least)


async def events_of_all(client: Any) -> list[str]:
    """Return the data of all entries, also of those that only a node may send."""
    found = []
    for _, fields in await client.xrange("answers"):
        packed = fields.get(b"m")
        found.append(msgpack.unpackb(packed)[2] if packed else fields[b"data"].decode())
    return found
