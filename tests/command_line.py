"""Running `broadcaster` as a user does: a process, its input, and its lines of output."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from tests import forks
from tests.nodes import Raw
from tests.wait import PATIENCE_S, http_client, until

SCRIPT = str(Path(sys.executable).with_name("broadcaster"))
QUICK = {
    "BROADCASTER_RETRY_MIN_MS": "20",
    "BROADCASTER_RETRY_MAX_MS": "60",
    "BROADCASTER_TERMINAL_RETRY_MS": "60",
}


class Running:
    """A command that runs, and the lines that it has written so far."""

    def __init__(self, process: asyncio.subprocess.Process | forks.Fork) -> None:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        self.process = process
        self.stdin, self.stdout = process.stdin, process.stdout
        self.out: list[str] = []
        self.err: list[str] = []
        self._readers = [
            asyncio.create_task(self._read(process.stdout, self.out)),
            asyncio.create_task(self._read(process.stderr, self.err)),
        ]

    @staticmethod
    async def _read(source: asyncio.StreamReader, lines: list[str]) -> None:
        async for line in source:
            lines.append(line.decode().rstrip("\n"))  # noqa: PERF401 -- seen as they come

    async def line(self, text: str, timeout_s: float = PATIENCE_S) -> str:
        """Wait for a line, on either output."""
        return await until(
            lambda: next((line for line in self.out + self.err if text in line), ""), timeout_s
        )

    async def url(self) -> str:
        """Wait until it listens."""
        return (await self.line("Listening on ")).split()[2].rstrip(".")

    async def ended(self, timeout_s: float = PATIENCE_S) -> int:
        """Wait for its end and all of its output. Return its status."""
        async with asyncio.timeout(timeout_s):
            await asyncio.wait(self._readers)
            return await self.process.wait()

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and wait for the end."""
        self.process.send_signal(number)
        return await self.ended()


Start = Callable[..., Awaitable[Running]]


@asynccontextmanager
async def starting(*command: str) -> AsyncIterator[Start]:
    """Starts a command with arguments; `env` adds to the environment. All end with the test.

    Args:
        command: what is started; without it, the `broadcaster` of this environment.
    """
    started: list[Running] = []

    async def start(*args: str, env: dict[str, str] | None = None, **options: Any) -> Running:
        others = {k: v for k, v in os.environ.items() if not k.startswith("BROADCASTER_")}
        environment = {**others, **QUICK, **(env or {})}
        whole = [*(command or (SCRIPT,)), *args]
        started.append(Running(await _process(whole, environment, options)))
        return started[-1]

    try:
        yield start
    finally:
        for running in started:
            with suppress(ProcessLookupError):
                running.process.kill()
            await running.ended()
        Raw.close_all()


async def _process(
    command: list[str], environment: dict[str, str], options: dict[str, Any]
) -> asyncio.subprocess.Process | forks.Fork:
    if not options and forks.can_run(command, environment):
        return await forks.start(command, environment)
    return await asyncio.create_subprocess_exec(
        *command, env=environment, stdin=PIPE, stdout=PIPE, stderr=PIPE, **options
    )


async def finished(running: Running, data: str = "") -> tuple[int, list[str], str]:
    """Give a command its input, wait for its end: status, lines of stdout, and stderr."""
    running.stdin.write(data.encode())
    running.stdin.close()
    status = await running.ended()
    return status, running.out, "\n".join(running.err)


async def ready(url: str) -> None:
    """Wait until a node serves."""
    async with http_client() as client:

        async def is_ready() -> bool:
            with suppress(httpx.TransportError):
                return (await client.get(f"{url}/readyz")).status_code == 200
            return False

        await until(is_ready)


def children(pid: int) -> list[int]:
    """The processes that a process has started, on Linux."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pids: Iterable[int]) -> list[int]:
    """Those that have not ended, on Linux."""
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def none_alive(pids: Iterable[int]) -> bool:
    """Return True if all have ended, on Linux."""
    return not alive(pids)


def at_least(lines: list[str], count: int) -> bool:
    """Return True if so many lines have come."""
    return len(lines) >= count


async def drained_by_a_hangup(node: Running, url: str) -> None:
    """Check that SIGHUP ends a client's response with a `retry:`, and the command with status 0."""
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
