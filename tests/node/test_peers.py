"""Processes that share a port answer for each other."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from broadcaster.node.peers import Peers, is_alive, meeting_place
from tests.wait import until


@pytest.fixture(params=["abstract", "directory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where the processes meet: on Linux, and on other systems."""
    if request.param == "directory":
        yield f"{tmp_path}/"
    else:
        with meeting_place() as made:
            yield made


async def test_processes_answer_for_each_other(place: str) -> None:
    async def answer(process: str) -> bytes:
        return process.encode()

    peers = [Peers(place, number, 3) for number in range(3)]
    tasks = [asyncio.create_task(p.serve(partial(answer, p.process))) for p in peers]
    try:
        for number in range(3):
            await until(partial(is_alive, place, number, 5.0))
        every = {"0": b"0", "1": b"1", "2": b"2"}
        assert await peers[1].gather(partial(answer, "1")) == every
        tasks[2].cancel()
        await asyncio.gather(tasks[2], return_exceptions=True)
        assert await peers[1].gather(partial(answer, "1")) == {"0": b"0", "1": b"1"}
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the user of the other side")
async def test_another_user_is_not_answered_and_not_believed(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def figures() -> bytes:
        raise AssertionError("another user asks for figures")

    serving = asyncio.create_task(Peers(place, 0, 2).serve(figures))
    await until(partial(is_alive, place, 0, 5.0))
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    assert not await is_alive(place, 0, 5.0)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


def test_nothing_is_left_of_a_place_on_linux(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with meeting_place() as first, meeting_place() as second:
        assert first != second
        assert sys.platform != "linux" or not list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())
