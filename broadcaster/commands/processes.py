"""Starts and stops child processes of the commands, and describes how they ended.

A child does not get the terminal's Ctrl-C, so that we can stop children in order. On Linux it ends
when this process ends, even by SIGKILL. This module does not know what the children do.
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
    """Start a process. The caller must stop it.

    Args:
        command: the path of a program, and its arguments.
        options: options for `asyncio.create_subprocess_exec`.
    """
    return await asyncio.create_subprocess_exec(
        *bound_to_us(command), stdin=asyncio.subprocess.DEVNULL, start_new_session=True, **options
    )


async def stop(processes: Iterable[Process], timeout_s: float) -> None:
    """Send SIGTERM to all processes, and after `timeout_s` seconds SIGKILL to those still running.

    If it is cancelled, it kills all of them at once.
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
    """Return a process's exit status in words."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


def _signal(process: Process, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
