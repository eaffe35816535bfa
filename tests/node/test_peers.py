"""Processes that share a port answer for each other."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from broadcaster.node.peers import Peers
from tests.wait import until


async def test_processes_answer_for_each_other(tmp_path: Path) -> None:
    async def answer(process: str) -> bytes:
        return process.encode()

    peers = [Peers(tmp_path, number) for number in range(3)]
    tasks = [asyncio.create_task(p.serve(partial(answer, p.process))) for p in peers]
    try:
        await until(lambda: len(list(tmp_path.iterdir())) == 3)
        every = {"0": b"0", "1": b"1", "2": b"2"}
        assert await peers[1].gather(partial(answer, "1")) == every
        tasks[2].cancel()
        await asyncio.gather(tasks[2], return_exceptions=True)
        assert await peers[1].gather(partial(answer, "1")) == {"0": b"0", "1": b"1"}
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
