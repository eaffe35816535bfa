from __future__ import annotations

import signal
from typing import Any

import orjson
import pytest

from broadcaster.core.event import Event
from broadcaster.core.runs.record import RunKeys
from tests.wait import until_sync
from tests.workers.conftest import StartWorker, WorkerProcess, await_events, events_of
from workers.recommendations import PIECES, recommendation
from workers.store import PETS

REQUESTS = "recommendations.requests"


def ask(client: Any, user_id: str) -> str:
    """Request recommendations; returns the key of the answer."""
    return f"{user_id}#{client.xadd(REQUESTS, {'key': user_id}).decode()}"


def answer(client: Any, key: str) -> list[Event]:
    return [event for event in events_of(client, "recommendations") if event.key == key]


def await_answer(client: Any, key: str) -> None:
    """Wait for the end of an answer; it must be whole, and have every piece once."""
    until_sync(lambda: any(e.type == "complete" for e in answer(client, key)), 15.0)
    *pieces, last = answer(client, key)
    assert [piece.type for piece in pieces] == ["recommendation"] * PIECES
    data = [orjson.loads(piece.data) for piece in pieces]
    assert len({one["petId"] for one in data}) == PIECES
    assert all(set(one) == {"petId", "name", "score", "reason"} for one in data)
    end = orjson.loads(last.data)
    assert set(end) == {"total", "processingTime"}
    assert end["total"] == PIECES
    assert 0 <= end["processingTime"] < 60_000


def test_each_request_is_answered_once(
    redis_url: str, store: Any, start_worker: StartWorker
) -> None:
    early = ask(store, "early")
    workers = [start_worker(redis_url, "recommendations", "--rate", "100") for _ in range(2)]
    keys = [early, *(ask(store, f"user{n}") for n in range(20)), ask(store, "user1")]
    for key in keys:
        await_answer(store, key)
    until_sync(lambda: store.xlen(REQUESTS) == 0)
    assert [worker.stop() for worker in workers] == [0, 0]
    assert store.xlen("recommendations") == len(keys) * (PIECES + 1)


@pytest.fixture
def slow(redis_url: str, start_worker: StartWorker) -> WorkerProcess:
    """A worker that takes a second and more for a piece."""
    return start_worker(redis_url, "recommendations", "--rate", "1", "--takeover-s", "0.5")


def quick(redis_url: str, start_worker: StartWorker) -> WorkerProcess:
    return start_worker(redis_url, "recommendations", "--rate", "50", "--takeover-s", "0.5")


def test_a_dead_workers_requests_are_taken_over(
    redis_url: str, store: Any, start_worker: StartWorker, slow: WorkerProcess
) -> None:
    key = ask(store, "user")
    await_events(store, "recommendations", 2)
    slow.kill()
    quick(redis_url, start_worker)
    await_answer(store, key)


def test_a_stalled_worker_that_wakes_up_publishes_nothing_twice(
    redis_url: str, store: Any, start_worker: StartWorker, slow: WorkerProcess
) -> None:
    key = ask(store, "user")
    await_events(store, "recommendations", 1)
    slow.send(signal.SIGSTOP)
    quick(redis_url, start_worker)
    await_answer(store, key)
    slow.send(signal.SIGCONT)
    until_sync(lambda: "left to it" in slow.said())
    await_answer(store, key)
    assert len(answer(store, key)) == PIECES + 1
    assert slow.stop() == 0


def test_a_slow_worker_is_left_in_peace(
    redis_url: str, store: Any, start_worker: StartWorker, slow: WorkerProcess
) -> None:
    key = ask(store, "user")
    await_events(store, "recommendations", 1)
    other = quick(redis_url, start_worker)
    await_events(store, "recommendations", 2)  # two seconds later, more than --takeover-s
    record = RunKeys.of("recommendations", key.partition("#")[2]).record
    assert store.hget(record, "attempt") == b"1"
    # A clean stop gives the run back, so that no client waits for a takeover.
    assert slow.stop() == 0
    await_answer(store, key)
    assert other.stop() == 0


def test_scores_follow_from_user_and_pet() -> None:
    all_of_them = {
        user: [recommendation(user, pet) for pet in PETS] for user in ("a", "b", "c", "d")
    }
    assert all(0 <= one.score <= 1 for scores in all_of_them.values() for one in scores)
    assert all_of_them["a"] == [recommendation("a", pet) for pet in PETS]
    best = {max(s, key=lambda one: one.score).pet for s in all_of_them.values()}
    assert len(best) > 1
    sold_out = [recommendation("a", pet._replace(stock=0)) for pet in PETS]
    assert all(
        now.score < before.score for now, before in zip(sold_out, all_of_them["a"], strict=True)
    )
