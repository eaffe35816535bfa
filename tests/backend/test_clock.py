"""The time of Redis, whatever the clock of this machine says."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest

from broadcaster import BackendUnavailableError, connect
from broadcaster.backend import clock as clock_module
from broadcaster.backend.clock import Clock, own_ms, redis_time_ms
from tests.wait import until

FAR_MS = 2_000_000_000_000  # in the year 2033


async def test_redis_says_its_time(client: Any, cluster_url: str) -> None:
    assert abs(await redis_time_ms(client) - own_ms()) < 30_000
    cluster: Any = connect(cluster_url)
    assert abs(await redis_time_ms(cluster) - own_ms()) < 30_000
    await cluster.aclose()


@pytest.mark.parametrize("shift_s", [20, -20, 120, -120, 10**6])
async def test_the_clock_goes_on_from_the_answer(
    monkeypatch: pytest.MonkeyPatch, client: Any, shift_s: int
) -> None:
    monkeypatch.setattr(clock_module, "own_ms", lambda: FAR_MS + shift_s * 1000)
    clock = Clock(lambda: redis_time_ms(client))
    assert clock.now_ms() == FAR_MS + shift_s * 1000
    assert not clock.asked.is_set()
    await clock.look()
    assert clock.asked.is_set()
    assert abs(clock.now_ms() - await redis_time_ms(client)) < 1_000
    before = clock.now_ms()
    await asyncio.sleep(0.02)
    assert 15 < clock.now_ms() - before < 10_000


async def test_it_asks_only_when_that_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [FAR_MS, FAR_MS + 50_000]
    clock = Clock(_answering(answers))
    for _ in range(3):
        await clock.look()
    assert answers == [FAR_MS + 50_000]
    later_s = time.monotonic() + clock_module.ASK_EVERY_S
    monkeypatch.setattr(time, "monotonic", lambda: later_s)
    await clock.look()
    assert clock.now_ms() == FAR_MS + 50_000


def _answering(answers: list[Any]) -> Any:
    async def ask() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return int(answer)

    return ask


@pytest.mark.parametrize("error", [BackendUnavailableError("away"), ConnectionResetError()])
async def test_without_an_answer_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(clock_module, "_AGAIN_S", 0.01)
    answers = [error, error, FAR_MS]
    clock = Clock(_answering(answers))
    following = asyncio.create_task(clock.follow())
    await clock.asked.wait()
    assert abs(clock.now_ms() - own_ms()) < 10_000
    await until(lambda: not answers)
    await until(lambda: clock.now_ms() >= FAR_MS)
    following.cancel()
    assert caplog.text.count("does not say the time") == 1


async def test_without_a_right_it_is_this_machines_clock(redis_url: str, client: Any) -> None:
    await client.execute_command("ACL", "SETUSER", "old", "on", "nopass", "~*", "+@all", "-time")
    other: Any = connect(redis_url.replace("//", "//old:x@"))
    clock = Clock(lambda: redis_time_ms(other))
    await clock.look()
    assert clock.asked.is_set()
    assert abs(clock.now_ms() - own_ms()) < 10_000
    await other.aclose()
    await client.execute_command("ACL", "DELUSER", "old")


async def test_a_clock_without_a_question_is_this_machines() -> None:
    clock = Clock()
    await clock.look()
    await clock.follow()
    assert clock.asked.is_set()
    assert abs(clock.now_ms() - own_ms()) < 10_000
