"""`serve --workers`: processes that hang are replaced, and nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from broadcaster.commands import supervisor
from broadcaster.commands.processes import start as start_process
from broadcaster.node.peers import Peers
from tests.command_line import Running, Start, alive, children, ready, starting
from tests.wait import PATIENCE_S, allowed_s, http_client, until

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

NEWCOMERS = 16
SERVED_WITHIN_S = 30.0


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts commands; all end with the test."""
    async with starting() as start:
        yield start


async def pair(start: Start, redis_url: str, directory: Path) -> tuple[Running, str]:
    """A node of two processes that both answer, and its url."""
    env = {"BROADCASTER_REDIS_URL": redis_url, "TMPDIR": str(directory)}
    node = await start("serve", "--port", "0", "--workers", "2", env=env)
    url = await node.url()
    await ready(url)
    await until(lambda: len(sockets(directory)) == 2)
    return node, url


def sockets(directory: Path) -> list[Path]:
    return list(directory.glob("broadcaster-*/*"))


async def test_a_process_that_hangs_is_replaced(
    start: Start, redis_url: str, tmp_path: Path
) -> None:
    node, url = await pair(start, redis_url, tmp_path)
    hanging, other = children(node.process.pid)
    os.kill(hanging, signal.SIGSTOP)
    stopped_s = time.monotonic()
    # Each has a connection of its own, so the kernel gives about half of them to either process.
    limits = httpx.Limits(max_keepalive_connections=0)
    try:
        async with http_client(base_url=url, limits=limits) as http:
            answers = await asyncio.gather(*(http.get("/healthz") for _ in range(NEWCOMERS)))
    finally:
        with suppress(ProcessLookupError):  # it would outlive its parent: it takes no SIGTERM
            os.kill(hanging, signal.SIGKILL)
    assert [answer.status_code for answer in answers] == [200] * NEWCOMERS
    assert 1.0 < time.monotonic() - stopped_s < allowed_s(SERVED_WITHIN_S)
    assert other in children(node.process.pid)
    assert hanging not in children(node.process.pid)
    assert await node.line(f"{hanging} does not answer")
    assert await node.stop() == 0
    assert not os.listdir(tmp_path)


async def test_a_hangup_drains_all_processes_and_leaves_nothing_behind(
    start: Start, redis_url: str, tmp_path: Path
) -> None:
    node, url = await pair(start, redis_url, tmp_path)
    members = children(node.process.pid)
    async with (
        http_client(base_url=url) as http,
        http.stream("GET", "/v1/inventory/stream") as stream,
    ):
        pieces = stream.aiter_text()
        assert "retry:" in await anext(pieces)
        node.process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(PATIENCE_S):
            rest = "".join([piece async for piece in pieces])
    assert "retry:" in rest
    assert await node.ended() == 0
    assert not os.listdir(tmp_path)
    assert not alive(members)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parent that asks often, and is not patient with one that starts."""
    monkeypatch.setattr(supervisor, "_ASK_EVERY_S", 0.05)
    monkeypatch.setattr(supervisor, "_START_S", 0.2)


async def test_a_process_that_answers_is_left_alone(tmp_path: Path, quick: None) -> None:

    async def nothing() -> bytes:
        raise AssertionError("the parent asks for no figures")

    process = await start_process(["/bin/sleep", "60"])
    serving = asyncio.create_task(Peers(tmp_path, 3).serve(nothing))
    try:
        await until((tmp_path / "3").exists)
        watching = asyncio.create_task(supervisor._end_if_it_hangs(process, tmp_path / "3"))
        with pytest.raises(TimeoutError):  # for longer than three misses and the start take
            async with asyncio.timeout(1.0):
                await asyncio.shield(watching)
        assert process.returncode is None
        serving.cancel()
        async with asyncio.timeout(PATIENCE_S):
            await watching
            assert await process.wait() == -signal.SIGKILL
    finally:
        serving.cancel()
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_one_that_never_answers_is_ended_as_well(tmp_path: Path, quick: None) -> None:
    process = await start_process(["/bin/sleep", "60"])
    async with asyncio.timeout(PATIENCE_S):
        await supervisor._end_if_it_hangs(process, tmp_path / "3")
        assert await process.wait() == -signal.SIGKILL
