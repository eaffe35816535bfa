"""Child processes of the commands: started, told from a crash, and always stopped.

A child gets no Ctrl-C of the terminal (we stop it, in our order) and, on Linux, ends when we end,
be it by SIGKILL. Nothing here knows what the children do.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from asyncio.subprocess import Process
from collections.abc import Iterable, Sequence
from typing import Any

from broadcaster.backend.lifeline import bound_to_us


async def start(command: Sequence[str], **options: Any) -> Process:
    """Start a process; the caller stops it.

    Args:
        command: the path of a program, and its arguments.
        options: of `asyncio.create_subprocess_exec`.
    """
    return await asyncio.create_subprocess_exec(
        *bound_to_us(command), stdin=asyncio.subprocess.DEVNULL, start_new_session=True, **options
    )


async def stop(processes: Iterable[Process], timeout_s: float) -> None:
    """End processes with SIGTERM, with SIGKILL those that do not end in time.

    Cancelled, it kills them all at once.
    """
    running = [process for process in processes if process.returncode is None]
    for process in running:
        _signal(process, signal.SIGTERM)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await asyncio.gather(*(process.wait() for process in running))
    finally:
        for process in running:
            if process.returncode is None:
                _signal(process, signal.SIGKILL)
                await process.wait()


def how_it_ended(status: int) -> str:
    """A process's exit status in words."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


def _signal(process: Process, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
