"""A program that starts others: all of them end with the test."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def ended_group(*command: str, log: Path, **options: Any) -> Iterator[None]:
    """Run a command in a process group of its own, which is killed when the block is left.

    Args:
        command: the program and its arguments.
        log: a file for its output.
        options: of `subprocess.Popen`.
    """
    with log.open("wb") as written:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
            start_new_session=True,
            **options,
        )
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
