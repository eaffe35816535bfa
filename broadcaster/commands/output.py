"""Standard streams that can't be written: closed, full, or a pipe without a reader.

A command that serves goes on without them. A command whose output is its result says so and fails.
"""

from __future__ import annotations

import os
import select
import sys
from typing import TextIO

import click

_MODES = {"stdin": "r", "stdout": "w", "stderr": "w"}


def open_closed_streams() -> frozenset[str]:
    """Open closed standard streams on the null device, and return their names.

    The next file or socket would get the number of a closed one. Then a line for stderr, of this
    process or of a child, would go to a client.
    """
    closed = set()
    for number, (name, mode) in enumerate(_MODES.items()):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, number)  # children inherit this one
            if null > 2:
                os.close(null)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 -- stays
            closed.add(name)
    return frozenset(closed)


def say(text: str, *, err: bool = False, dim: bool = False) -> bool:
    """Print a line for people. Return False, and never fail, if it can't be written."""
    try:
        click.secho(text, err=err, dim=dim)
    except OSError:
        give_up(sys.stderr if err else sys.stdout)
        return False
    return True


def write_at_once(number: int, data: bytes) -> int:
    """Write to a file without waiting for the reader of a pipe or a terminal.

    Args:
        number: of an open file.
        data: the bytes.

    Returns:
        The number of bytes that were written. The others would have had to wait.

    Raises:
        OSError: the file can't be written.
    """
    poll = select.poll()
    poll.register(number, select.POLLOUT)
    for at in range(0, len(data), select.PIPE_BUF):
        # A pipe that is ready takes so many bytes at least.
        if not poll.poll(0):
            return at
        os.write(number, data[at : at + select.PIPE_BUF])
    return len(data)


def give_up(stream: TextIO) -> None:
    """Send the rest of a stream's buffer, and everything that follows, to the null device.

    Without this, Python would fail when it flushes the stream at its end.
    """
    try:
        number = stream.fileno()
        null = os.open(os.devnull, os.O_WRONLY)
    except (OSError, ValueError):  # no file stands behind it
        return
    os.dup2(null, number)
    os.close(null)
