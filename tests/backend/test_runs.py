from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import orjson
import pytest

from broadcaster import (
    BackendUnavailableError,
    ConfigurationError,
    Publisher,
    Run,
    RunLostError,
    RunQueue,
    Transaction,
)
from broadcaster.backend.clock import own_ms
from tests.backend.conftest import NOBODY, events_of
from tests.channels import named
from tests.wait import until

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
    assert (run.id, run.key, run.pieces, run.finished) == (id, "user", [], False)
    assert await other.take(1) == []
    assert await run.publish("a", type="piece", data=1)
    assert not await run.publish("a", type="piece", data=1)
    assert await run.complete(data={"total": 1})
    assert not await run.complete(data={"total": 1})
    assert await published(worker) == [
        ("piece", f"user#{id}", b"1"),
        ("complete", f"user#{id}", b'{"total":1}'),
    ]
    assert 0 <= run.age_s < 60
    assert await worker.redis.xlen(REQUESTS) == 0
    await mine.aclose()
    await other.aclose()
    assert await worker.redis.xinfo_consumers(REQUESTS, "workers") == []


async def test_waiting_for_a_request(worker: Publisher) -> None:
    mine = queue(worker)
    assert await mine.take(1, wait_s=0.01) == []
    waiting = asyncio.create_task(mine.take(10, wait_s=3.0))
    id = await ask(worker)
    assert [run.id for run in await waiting] == [id]


async def test_a_dead_worker_s_request_goes_on_where_it_stopped(worker: Publisher) -> None:
    await ask(worker)
    dead = await one(queue(worker, SOON_S))
    await dead.publish("a", type="piece", data=1)
    living = await one(queue(worker, SOON_S))
    assert living.pieces == ["a"]
    assert not await living.publish("a", type="piece", data=1)
    # The dead one was only asleep: it must not publish what the other one will.
    with pytest.raises(RunLostError):
        await dead.publish("b", type="piece", data=2)
    with pytest.raises(RunLostError):
        await dead.complete(data=None)
    assert await living.publish("b", type="piece", data=2)
    assert await living.complete(data=None)
    assert [event[2] for event in await published(worker)] == [b"1", b"2", b"null"]


class Stalling(Publisher):
    """Stalls between reading and writing, while something else happens."""

    meanwhile: Callable[[], Awaitable[object]] | None = None

    @asynccontextmanager
    async def transaction(self, *watch: str) -> AsyncIterator[Transaction]:
        async with super().transaction(*watch) as transaction:
            yield transaction
            meanwhile, self.meanwhile = self.meanwhile, None
            if meanwhile:
                await meanwhile()


async def test_a_worker_that_stalls_just_before_it_writes(worker: Publisher) -> None:
    await ask(worker)
    stalling = Stalling(worker.redis, channels=CHANNELS)
    mine = await one(queue(stalling, 0.0))
    others = queue(worker, 0.0)
    other = Run(
        mine.id,
        mine.key,
        publisher=worker,
        channel=others.channel,
        worker=others.consumer,
        drop=others.drop,
        now_ms=own_ms,
    )

    async def take_over() -> None:
        await other.begin()
        await other.publish("a", type="piece", data="other's")

    stalling.meanwhile = take_over
    with pytest.raises(RunLostError):
        await mine.publish("a", type="piece", data="mine")
    assert [event[2] for event in await published(worker)] == [b"other's"]
    # The other order: the new worker must see events that are published meanwhile.
    stalling.meanwhile = partial(other.publish, "b", type="piece", data="other's")
    await mine.begin()
    assert mine.pieces == ["a", "b"]


async def test_a_worker_that_dies_between_the_last_event_and_the_queue(
    worker: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask(worker)
    dying = queue(worker, SOON_S)

    async def die(run: Run) -> None:
        raise BackendUnavailableError

    monkeypatch.setattr(dying, "drop", die)
    run = await one(dying)
    with pytest.raises(BackendUnavailableError):
        await run.complete(data=None)
    other = queue(worker, SOON_S)

    async def tidied() -> bool:
        assert await other.take(1) == []
        return bool(await worker.redis.xlen(REQUESTS) == 0)

    await until(tidied)
    assert len(await published(worker)) == 1


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
    assert await run.publish("a", type="piece", data=1)
    # Released, it is kept no longer.
    slow.release(run)

    async def taken_over() -> list[Run]:
        await slow.keep()
        return await other.take(1)

    assert (await until(taken_over))[0].id == run.id


async def test_a_worker_that_was_silent_does_not_take_its_own_run_twice(worker: Publisher) -> None:
    await ask(worker)
    mine = queue(worker, 0.0)
    run = await one(mine)
    assert await mine.take(1) == []
    assert await run.complete(data=None)


async def test_a_request_taken_before_redis_goes_away_is_found_again(
    worker: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Run.begin

    async def begin_the_first(run: Run) -> None:
        if run.key == "second":
            raise BackendUnavailableError("gone")
        await begin(run)

    for key in ("first", "second"):
        await ask(worker, key)
    failing, other = queue(worker, SOON_S), queue(worker, SOON_S)
    with monkeypatch.context() as patched:
        patched.setattr(Run, "begin", begin_the_first)
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
    assert await worker.redis.xlen(REQUESTS) == 1


async def test_redis_lost_everything(worker: Publisher) -> None:
    await ask(worker)
    mine = queue(worker)
    run = await one(mine)
    await worker.redis.flushall()
    with pytest.raises(RunLostError):
        await run.publish("a", type="piece", data=1)
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
    assert await worker.redis.xlen(REQUESTS) == 2


async def test_a_run_that_has_begun_is_finished_however_old_its_request_is(
    worker: Publisher,
) -> None:
    await worker.redis.xadd(REQUESTS, {"key": "k", "ttl_ms": "100"}, id="5-0")
    state = orjson.dumps(["another", ["1"], False, 0])
    await worker.redis.set("{answers}:run:5-0", state)
    run = await one(queue(worker))
    assert (run.id, run.pieces) == ("5-0", ["1"])


async def test_the_progress_of_a_complete_run_is_not_kept_for_long(worker: Publisher) -> None:
    await ask(worker)
    run = await one(queue(worker))
    await run.publish("1", type="t", data=1)
    state = f"{{answers}}:run:{run.id}"
    assert await worker.redis.ttl(state) > 3_000
    await run.complete(data="end")
    assert 0 < await worker.redis.ttl(state) <= 300
