from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from functools import partial
from typing import Any

import pytest

from broadcaster import (
    BackendUnavailableError,
    ConfigurationError,
    EmbeddedRedis,
)
from tests.wait import allowed_s, until_sync
from tests.workers.conftest import (
    ROOT,
    StartWorker,
    WorkerProcess,
    await_events,
    check_coherence,
    store_of,
)
from workers.runner import Life, run_worker


async def test_ticks_keep_the_rate_and_make_up_for_a_stall() -> None:
    life = Life(rate=500.0, count=200)
    start_s = time.monotonic()
    async for _ in life.ticks():
        life.announced += 1
        if life.announced == 50:
            time.sleep(0.1)  # noqa: ASYNC251 -- a loop that stalls is what is tested
    assert life.announced == 200
    assert 0.35 <= time.monotonic() - start_s < allowed_s(0.8)


async def test_patience_says_that_redis_is_away_and_back(caplog: pytest.LogCaptureFixture) -> None:
    answers: list[Any] = [BackendUnavailableError("gone"), BackendUnavailableError("gone"), 42]

    async def ask() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return int(answer)

    assert await Life(1.0).patiently(ask) == 42
    said = [record.getMessage() for record in caplog.records]
    assert all("not available (gone)" in text for text in said[:2])
    assert "back" in said[2]


async def test_patience_outlasts_an_outage_of_hours() -> None:
    """Two to the power of a thousand failures is no float any more."""

    class Hasty(Life):
        async def sleep(self, seconds: float) -> None:
            waits.append(seconds)

    waits: list[float] = []

    async def ask() -> int:
        if len(waits) < 1100:
            raise BackendUnavailableError("gone")
        return 42

    assert await Hasty(1.0).patiently(ask) == 42
    assert 0.1 <= waits[0] <= 0.2
    assert 2.5 <= min(waits[5:]) <= max(waits) <= 5.0


async def test_a_refusal_for_good_ends_a_worker_only_at_its_start() -> None:
    refusal = ConfigurationError("WRONGTYPE")

    async def refused() -> int:
        raise refusal

    life = Life(1.0)
    with pytest.raises(ConfigurationError):
        await life.patiently(refused)
    answers: list[Any] = [1, refusal, 2]

    async def ask() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return int(answer)

    assert [await life.patiently(ask), await life.patiently(ask)] == [1, 2]


async def test_patience_ends_with_the_life() -> None:
    life = Life(1.0)

    async def ask() -> None:
        life.stop()
        raise BackendUnavailableError

    await life.patiently(ask)
    assert life.over


async def test_an_error_that_stays_ends_the_worker() -> None:
    class Broken:
        async def run(self, life: Life) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run_worker(Broken(), Life(1.0))


async def test_work_that_hangs_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.runner.GRACE_S", 0.05)

    class Hanging:
        async def run(self, life: Life) -> None:
            life.stop()
            await asyncio.Event().wait()

    await run_worker(Hanging(), Life(1.0))


@pytest.mark.parametrize("name", ["inventory", "orders", "recommendations"])
def test_signals_stop_it_cleanly(
    redis_url: str, store: Any, start_worker: StartWorker, name: str
) -> None:
    store.xadd("recommendations.requests", {"key": "user"})
    workers = [start_worker(redis_url, name) for _ in range(2)]
    await_events(store, name, 1)
    assert workers[0].stop() == 0
    assert workers[1].stop(signal.SIGINT) == 0
    assert "Traceback" not in workers[0].said() + workers[1].said()


def test_it_ends_after_count(redis_url: str, store: Any, start_worker: StartWorker) -> None:
    worker = start_worker(redis_url, "inventory", "--rate", "1000", "--count", "50")
    assert worker.wait() == 0
    assert store.xlen("inventory") == 50
    assert "inventory: 50 events published, stopped" in worker.said()


def test_a_url_that_cannot_work(start_worker: StartWorker) -> None:
    worker = start_worker("http://:secret@nowhere", "orders")
    assert worker.wait() == 1
    assert "a Redis url looks like" in worker.said()
    assert "secret" not in worker.said()


def says(worker: WorkerProcess, what: str) -> bool:
    return what in worker.said()


def test_redis_goes_away_and_comes_back(start_worker: StartWorker) -> None:
    with EmbeddedRedis("--appendonly", "yes", "--appendfsync", "always") as server:
        workers = [
            start_worker(server.url, name, "--rate", "200") for name in ("inventory", "orders")
        ]
        client: Any = store_of(server.url)
        with client:
            await_events(client, "inventory", 50)
            for end in (server.stop, server.kill):
                end()
                for worker in workers:
                    until_sync(partial(says, worker, "Redis is not available"))
                server.start()
                await_events(client, "inventory", 50)
                await_events(client, "orders", 20)
            assert all("Redis is back" in worker.said() for worker in workers)
            server.stop()
            # Also while they wait for Redis, a signal stops them.
            assert [worker.stop() for worker in workers] == [0, 0]
            server.start()
            check_coherence(client)


def test_a_bar_on_a_terminal(redis_url: str) -> None:
    ours, terminal = os.openpty()
    worker = subprocess.Popen(
        [sys.executable, "-m", "workers", "inventory", "--rate=50", "--count=60"],
        env=os.environ | {"BROADCASTER_REDIS_URL": redis_url, "TERM": "xterm", "COLUMNS": "100"},
        cwd=ROOT,
        stderr=terminal,
    )
    os.close(terminal)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
    os.close(ours)
    assert worker.wait() == 0
    assert b"events/s" in shown
    assert b"/60" in shown
