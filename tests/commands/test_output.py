"""Commands whose standard streams are closed, full, or pipes without a reader."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from broadcaster.backend.embedded import free_port
from tests.command_line import QUICK, SCRIPT, alive, children, ready
from tests.nodes import Raw
from tests.wait import PATIENCE_S, until

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full"),
]

Run = Callable[..., Awaitable[Process]]

#: What a shell does with the standard streams, and whether its pipes have readers.
BROKEN = {
    "stdout is full": ">/dev/full",
    "stderr is full": "2>/dev/full",
    "both are full": ">/dev/full 2>&1",
    "stdout is closed": ">&-",
    "stderr is closed": "2>&-",
    "all are closed": "<&- >&- 2>&-",
    "both are pipes without a reader": "> >(exec 0<&-) 2> >(exec 0<&-)",
}


@pytest.fixture
async def shell(redis_url: str) -> AsyncIterator[Run]:
    """Runs `broadcaster` as bash does, and kills what still runs at the end."""
    started: list[Process] = []

    async def run(arguments: str, redirected: str, **options: Any) -> Process:
        line = f"exec {SCRIPT} {arguments} {redirected}"
        env = {**os.environ, **QUICK, "BROADCASTER_REDIS_URL": redis_url}
        options = dict[str, Any](stdout=PIPE, stderr=PIPE, env=env) | options
        process = await asyncio.create_subprocess_exec("bash", "-c", line, **options)
        started.append(process)
        return process

    yield run
    Raw.close_all()
    for process in started:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def serves(port: int, client: Any) -> None:
    """Check that a node on a port sends an event."""
    await ready(f"http://127.0.0.1:{port}")
    for turn in range(3):  # each leaves two lines in the log
        stream = await Raw.get(port, "/v1/inventory/stream")
        await stream.until(b"stream.live")
        await client.xadd("inventory", {"data": f"{turn}"})
        # Another process of several may not have read the event before: then it comes first.
        await stream.until(f"data: {turn}\n".encode())
        stream.close()


@pytest.mark.parametrize("what", BROKEN)
async def test_a_node_serves_without_its_output(shell: Run, client: Any, what: str) -> None:
    port = free_port()
    process = await shell(f"serve --port {port}", BROKEN[what])
    await serves(port, client)
    process.terminate()
    assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0


@pytest.mark.parametrize("what", ["all are closed", "both are full"])
async def test_several_processes_serve_without_their_output(
    shell: Run, client: Any, what: str
) -> None:
    port = free_port()
    process = await shell(f"serve --port {port} --workers 2", BROKEN[what])
    await serves(port, client)
    pids = children(process.pid)
    process.terminate()
    assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0
    await until(lambda: not alive(pids))


@pytest.mark.parametrize("what", ["all are closed", "both are full", "stdout is closed"])
async def test_the_demo_runs_without_its_output(shell: Run, client: Any, what: str) -> None:
    port = free_port()
    process = await shell(f"demo --port {port}", BROKEN[what])
    await ready(f"http://127.0.0.1:{port}")
    stream = await Raw.get(port, "/v1/inventory/stream")
    await stream.told(40)  # some seconds: longer than its first lines take
    stream.close()
    process.terminate()
    assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0


async def test_a_node_outlives_the_reader_of_its_log(shell: Run, client: Any) -> None:
    port = free_port()
    read, write = os.pipe()
    process = await shell(f"serve --port {port}", "", stderr=write)
    os.close(write)
    await serves(port, client)
    os.close(read)  # from here on, no line can be written
    await serves(port, client)
    process.terminate()
    assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0


async def test_a_node_serves_while_the_reader_of_its_log_is_stopped(
    shell: Run, client: Any
) -> None:
    port = free_port()
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    process = await shell(f"serve --port {port}", "", stderr=write)
    os.close(write)
    for _ in range(15):  # nothing is read: the pipe is full after a few lines
        await serves(port, client)
    held = os.read(read, 1 << 16)
    await serves(port, client)
    lines = (held + os.read(read, 1 << 16)).decode().splitlines()
    assert any("lines are lost: they could not be written at once" in line for line in lines)
    assert all(line.startswith("{") and line.endswith("}") for line in lines[1:] if line)
    process.terminate()
    assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0
    os.close(read)


async def output(process: Process) -> tuple[int, str]:
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    return await process.wait(), (out + err).decode()


@pytest.mark.parametrize("command", ["check", "tail inventory --from earliest --count 1"])
@pytest.mark.parametrize(
    ("redirected", "said"), [(">/dev/full", "No space left"), (">&-", "stdout is closed")]
)
async def test_a_result_that_can_not_be_written_is_one_line(
    shell: Run, client: Any, command: str, redirected: str, said: str
) -> None:
    port = free_port()
    await client.xadd("inventory", {"data": "1"})
    await shell(f"serve --port {port}", "")
    await ready(f"http://127.0.0.1:{port}")
    if command.startswith("tail"):
        command += f" --base-url http://127.0.0.1:{port}"
    status, text = await output(await shell(command, redirected))
    assert status == 1
    assert said in text
    assert "Traceback" not in text
    assert "Exception ignored" not in text


async def test_publishing_goes_on_without_the_ids(shell: Run, client: Any, tmp_path: Path) -> None:
    events = tmp_path / "events"
    events.write_text('{"data": 1}\n' * 5_000)
    for redirected in (f"<{events} >/dev/full", f"<{events} > >(exec 0<&-)"):
        status, text = await output(await shell("publish inventory", redirected))
        assert status == 0, text
        assert text.count("\n") == ("full" in redirected), text
        assert "Traceback" not in text
    assert await client.xlen("inventory") == 10_000
    status, text = await output(await shell("publish inventory --data 1", ">/dev/full"))
    assert (status, "events are published" in text) == (0, True)
    status, text = await output(await shell("publish inventory --data 1", ">&-"))
    assert (status, "stdout is closed" in text) == (1, True)
    assert await client.xlen("inventory") == 10_001
