"""A worker answers several requests at once, and ends the work on what it has lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from broadcaster import BackendUnavailableError, Publisher, Run, RunQueue
from broadcaster.backend.runs import worker
from broadcaster.backend.runs.outbox import BATCH_S
from broadcaster.backend.runs.records import Records
from tests.backend.conftest import events_of
from tests.channels import named
from tests.wait import until

REQUESTS = "answers.requests"
CHANNELS = named("answers", requests=REQUESTS)


@asynccontextmanager
async def working(
    url: str,
    answer: Callable[[Run], Awaitable[object]],
    concurrency: int = 64,
    batch_s: float = BATCH_S,
) -> AsyncIterator[RunQueue]:
    async with Publisher(url, channels=CHANNELS) as publisher:
        queue = RunQueue(publisher, "answers", takeover_s=1.0, batch_s=batch_s)
        task = asyncio.create_task(queue.serve(answer, concurrency=concurrency))
        try:
            yield queue
        finally:
            task.cancel()
            await asyncio.wait([task])


async def ask(client: Any, *keys: str) -> None:
    for key in keys:
        await client.xadd(REQUESTS, {"key": key})


async def told(client: Any) -> list[tuple[str, bytes]]:
    return [(event.type, event.data) for event in await events_of(client, "answers")]


async def test_so_many_at_once_and_each_is_completed(redis_url: str, client: Any) -> None:
    now, most, go = set[str](), 0, asyncio.Event()

    async def answer(run: Run) -> None:
        nonlocal most
        now.add(run.key)
        most = max(most, len(now))
        await go.wait()
        now.discard(run.key)

    await ask(client, *"abcde")
    async with working(redis_url, answer, concurrency=2):
        await until(lambda: len(now) == 2)
        go.set()
        await until(lambda: _length(client, 5))
    assert most == 2
    assert await told(client) == [("complete", b"null")] * 5


async def _length(client: Any, least: int) -> bool:
    return bool(await client.xlen("answers") >= least)


async def test_an_answer_that_raises_is_tried_again(redis_url: str, client: Any) -> None:
    attempts = list[int]()

    async def answer(run: Run) -> None:
        attempts.append(run.attempt)
        if run.attempt == 1:
            raise ZeroDivisionError
        await run.complete(data="done")

    await ask(client, "a")
    async with working(redis_url, answer):
        await until(lambda: _length(client, 1))
    assert attempts == [1, 2]
    assert await told(client) == [("complete", b"done")]


async def test_what_is_not_finished_is_given_back(redis_url: str, client: Any) -> None:
    took = asyncio.Event()

    async def answer(run: Run) -> None:
        took.set()
        await asyncio.Event().wait()

    await ask(client, "a")
    async with working(redis_url, answer):
        await took.wait()
    async with Publisher(redis_url, channels=CHANNELS) as publisher:
        (run,) = await RunQueue(publisher, "answers", takeover_s=600.0).take(1)
        assert run.attempt == 2


async def test_the_work_on_a_run_that_is_stopped_ends(
    redis_url: str, client: Any, monkeypatch: Any
) -> None:
    took, ended = asyncio.Queue[Run](), asyncio.Event()

    async def answer(run: Run) -> None:
        took.put_nowait(run)
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    await ask(client, "a")
    async with working(redis_url, answer) as queue:
        run = await took.get()
        await Records(client, "answers", None).stop(run.id)
        await until(ended.is_set)
        # Redis goes away for a moment, and comes back.
        with monkeypatch.context() as patched:
            away = asyncio.Event()

            async def take(*_: object, **__: object) -> list[Run]:
                away.set()
                raise BackendUnavailableError("away")

            patched.setattr(worker, "_AGAIN_S", 0.01)
            patched.setattr(queue, "take", take)
            await until(away.is_set)
        await ask(client, "b")
        assert (await took.get()).key == "b"


async def test_a_worker_that_ends_publishes_what_it_has_written(
    redis_url: str, client: Any
) -> None:
    texts, waits = list[str](), asyncio.Event()

    async def answer(run: Run) -> None:
        texts.append(run.text)
        if len(texts) == 1:
            await run.write("half ")
            await run.flush()
            for word in ("of ", "it"):  # which are gathered for an hour
                await run.write(word)
            waits.set()
            await asyncio.Event().wait()

    await ask(client, "a")
    async with working(redis_url, answer, batch_s=3_600.0):
        await until(waits.is_set)
        assert await told(client) == [("text", b"half ")]
    assert await told(client) == [("text", b"half "), ("text", b"of it")]
    async with working(redis_url, answer):
        await until(lambda: len(texts) == 2)
    assert texts[1] == "half of it"
