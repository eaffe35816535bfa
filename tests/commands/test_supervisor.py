"""`serve --workers`: processes that hang are replaced, and nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
import time
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from broadcaster import Publisher, Settings, load_settings
from broadcaster.client.source import EventSource
from broadcaster.commands import processes, supervisor
from broadcaster.commands.main import serve
from broadcaster.commands.processes import start as start_process
from broadcaster.node.peers import Peers
from tests.command_line import (
    Running,
    Start,
    alive,
    children,
    drained_by_a_hangup,
    none_alive,
    ready,
)
from tests.commands.conftest import ids_of
from tests.wait import PATIENCE_S, allowed_s, http_client, until

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

NEWCOMERS = 16
SERVED_WITHIN_S = 30.0


async def pair(start: Start, redis_url: str, directory: Path) -> tuple[Running, str]:
    """A node of two processes that both answer, and its url."""
    env = {"BROADCASTER_REDIS_URL": redis_url, "TMPDIR": str(directory)}
    node = await start("serve", "--port", "0", "--workers", "2", env=env)
    url = await node.url()
    await ready(url)
    await until(partial(both_have, url, 0))
    return node, url


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
    await drained_by_a_hangup(node, url)
    assert not os.listdir(tmp_path)
    assert not alive(members)


async def test_a_parent_that_is_killed_leaves_nothing_behind(
    start: Start, redis_url: str, tmp_path: Path
) -> None:
    node, _ = await pair(start, redis_url, tmp_path)
    members = children(node.process.pid)
    node.process.kill()
    await node.ended()
    await until(partial(none_alive, members))
    assert not os.listdir(tmp_path)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parent that asks often, and is not patient with one that starts."""
    monkeypatch.setattr(supervisor, "_ASK_EVERY_S", 0.2)
    monkeypatch.setattr(supervisor, "_START_S", 0.2)


async def test_a_process_that_answers_is_left_alone(tmp_path: Path, quick: None) -> None:

    async def nothing() -> bytes:
        raise AssertionError("the parent asks for no figures")

    process = await start_process(["/bin/sleep", "60"])
    serving = asyncio.create_task(Peers(f"{tmp_path}/", 3, 4).serve(nothing))
    try:
        child = supervisor.Child(3, [], f"{tmp_path}/", 4)
        watching = asyncio.create_task(supervisor._end_if_it_hangs(process, child))
        with pytest.raises(TimeoutError):  # for longer than three misses and the start take
            async with asyncio.timeout(1.5):
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


async def test_one_that_hangs_before_its_first_answer_has_not_the_time_of_a_start(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_START_S", 10 * PATIENCE_S)
    process = await start_process(["/bin/sleep", "60"])
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(f"{tmp_path}/3")
        silent.listen()
        async with asyncio.timeout(PATIENCE_S):
            await supervisor._end_if_it_hangs(process, supervisor.Child(3, [], f"{tmp_path}/", 4))
            assert await process.wait() == -signal.SIGKILL


async def test_one_that_never_listens_is_ended_as_well(tmp_path: Path, quick: None) -> None:
    process = await start_process(["/bin/sleep", "60"])
    async with asyncio.timeout(PATIENCE_S):
        await supervisor._end_if_it_hangs(process, supervisor.Child(3, [], f"{tmp_path}/", 4))
        assert await process.wait() == -signal.SIGKILL


def two_children(pid: int) -> list[int]:
    found = children(pid)
    return found if len(found) == 2 else []


async def test_several_processes_serve_one_port_and_are_replaced(
    start: Start, redis_url: str, publisher: Publisher, client: Any
) -> None:
    node = await start("serve", "--port", "0", "--workers", "2", env={
        "BROADCASTER_REDIS_URL": redis_url
    })  # fmt: skip
    url = await node.url()
    await ready(url)
    before = await until(lambda: two_children(node.process.pid))
    port = url.rpartition(":")[2]

    async def both() -> bool:
        names = [name.decode() for name in await client.hkeys("broadcaster.nodes")]
        return len(names) == 2 and all(f":{port}-" in name for name in names)

    await until(both)  # each knows the port that the parent was given
    opened: Counter[str] = Counter()
    sources = [
        EventSource(f"{url}/v1/inventory/stream", on_change=lambda t, _: opened.update([t]))
        for _ in range(24)
    ]
    seen = [asyncio.create_task(ids_of(source, 1)) for source in sources]
    await until(lambda: opened[""] >= 24)
    assert await both_have(url, 24)
    os.kill(before[0], signal.SIGKILL)
    await node.line(f"{before[0]} was ended by SIGKILL")
    broken = await until(lambda: opened.total() - opened[""])
    assert 0 < broken < 24  # each of the two had some
    after = await until(lambda: two_children(node.process.pid))
    assert len({*before, *after}) == 3
    await until(lambda: opened[""] >= 24 + broken)
    # The new process may still be starting. The clients of the old one are all with the
    # other one then.
    await until(partial(both_have, url, 24))
    id_ = await publisher.publish("inventory", data=1)
    assert await asyncio.gather(*seen) == [[str(id_)]] * 24
    assert await node.stop(signal.SIGINT) == 0
    assert none_alive(after)


def test_children_read_what_their_parent_was_given_as_options() -> None:
    names = {option.name for option in serve.params if option.name in Settings.model_fields}
    flags: dict[str, Any] = {"host": "0.0.0.0", "port": 1, "redis_url": "redis://host"}
    flags["log_level"] = "debug"
    assert names == {*flags, "workers"}
    environment = supervisor._environment(load_settings(**flags), None)
    for name, value in flags.items():
        assert environment[f"BROADCASTER_{name.upper()}"] == str(value)


async def test_a_process_that_can_not_be_started_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter([BlockingIOError("too many processes"), KeyboardInterrupt()])

    async def start(*_: object, **__: object) -> None:
        raise next(answers)

    monkeypatch.setattr(processes, "start", start)
    with pytest.raises(KeyboardInterrupt):
        await supervisor.keep(supervisor.Child(1, [], "", 2), {}, 1.0)
    assert "process 1 can't be started, trying again: too many processes" in caplog.text


async def both_have(url: str, count: int) -> bool:
    """Return True if the processes have so many open streams, as either of the two says of both."""
    async with http_client() as http:
        text = (await http.get(f"{url}/metrics")).text
    states = re.findall(r'_connections\{process="(\d)",state="\w+"\} (\S+)', text)
    both = {process for process, _ in states} == {"0", "1"}
    return both and sum(float(number) for _, number in states) == count
