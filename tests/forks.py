"""Commands that start at once: forks of a process that has imported all of the hub already.

A Python that starts needs most of a second of a CPU for its imports, and the tests start hundreds
of commands. A fork has all that a new process would have: arguments, an environment, a directory,
pipes, an id, and a status with which it ends.
"""

from __future__ import annotations

import asyncio
import atexit
import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing import reduction
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

FORKS = multiprocessing.get_context("forkserver")
# Imported in that one process. What is missing here is imported by each fork that needs it.
FORKS.set_forkserver_preload(
    [
        __name__,
        "broadcaster.app",
        *(
            f"broadcaster.commands.{name}"
            for name in ("main", "serve", "publish", "tail", "check", "fold", "logs")
        ),
        *(f"workers.{name}" for name in ("desk", "inventory", "orders", "recommendations")),
    ]
)
_SCRIPT = str(Path(sys.executable).with_name("broadcaster"))
# Python reads these while it starts, so a fork would not notice them.
_AT_START = ("PYTHON", "LC_", "LANG", "COVERAGE_")


def can_run(command: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Return True if a fork of ours does the same as a new process.

    Args:
        command: a program and its arguments.
        environment: that of the command.
    """
    # The demo starts more processes than it saves.
    ours = command[:1] == [_SCRIPT] and command[1:2] != ["demo"]
    program = ours or command[:3] == [sys.executable, "-m", "workers"]
    here, there = (
        {name: value for name, value in each.items() if name.startswith(_AT_START)}
        for each in (os.environ, environment)
    )
    measured = any(name.startswith("COVERAGE_") for name in here)
    return program and here == there and not measured and sys.platform == "linux"


class _Descriptor:
    """A file descriptor that a fork gets, under another number."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __reduce__(self) -> Any:
        return _detached, (reduction.DupFd(self._number),)


def _detached(passed: Any) -> int:
    number: int = passed.detach()
    return number


def begin(
    command: Sequence[str],
    environment: Mapping[str, str],
    directory: Path | None,
    descriptors: Sequence[int],
) -> BaseProcess:
    """Start a command for which `can_run` is true.

    Args:
        command: the program and its arguments.
        environment: the whole of it.
        directory: where it works; None is ours.
        descriptors: its standard input, output and errors.
    """
    passed = [_Descriptor(number) for number in descriptors]
    arguments = (list(command), dict(environment), str(directory or Path.cwd()), passed)
    process = FORKS.Process(target=_run, args=arguments, daemon=True)
    process.start()
    return process


def _run(
    command: list[str], environment: dict[str, str], directory: str, descriptors: list[int]
) -> None:
    """What a fork does."""
    for standard, number in enumerate(descriptors):
        os.dup2(number, standard)
        os.close(number)
    for number in map(int, os.listdir("/proc/self/fd")):
        if number > 2:  # what only forks know is not for their children
            with suppress(OSError):
                os.set_inheritable(number, False)
    for name, opened in (
        ("stdin", _text(0, "r", "strict")),
        ("stdout", _text(1, "w", "strict")),
        ("stderr", _text(2, "w", "backslashreplace")),
    ):
        setattr(sys, name, opened)
        setattr(sys, f"__{name}__", opened)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    tempfile.tempdir = None  # it is found anew, in this environment
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        if command[0] == _SCRIPT:
            from broadcaster.commands.main import main

            sys.argv = command
            main()
        else:
            sys.argv = command[2:]
            runpy.run_module(command[2], run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()


def _text(number: int, mode: str, errors: str) -> TextIO:
    buffering = 1 if number == 2 else -1
    opened: Any = open(number, mode, buffering, errors=errors, closefd=False)  # noqa: SIM115
    text: TextIO = opened
    return text


class _Process:
    """A command that runs.

    Attributes:
        process: what runs it.
    """

    def __init__(self, process: BaseProcess) -> None:
        self.process = process

    @property
    def pid(self) -> int:
        """The id of its process."""
        assert self.process.pid
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        """The status with which it ended; None while it runs."""
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal.

        Raises:
            ProcessLookupError: it has ended.
        """
        if self.returncode is not None:
            raise ProcessLookupError
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


class Fork(_Process):
    """A command that runs, with the interface of `asyncio.subprocess.Process`."""

    def __init__(self, process: BaseProcess, stdin: asyncio.StreamWriter) -> None:
        super().__init__(process)
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = self._loop.create_future()
        self.stdin = stdin
        self.stdout, self.stderr = asyncio.StreamReader(), asyncio.StreamReader()
        self._loop.add_reader(process.sentinel, self._end)

    def _end(self) -> None:
        self._loop.remove_reader(self.process.sentinel)
        self.stdin.close()
        self._ended.set_result(self.process.exitcode or 0)

    async def wait(self) -> int:
        """Wait for its end; return its status."""
        return await asyncio.shield(self._ended)


class BlockingFork(_Process):
    """A command that runs, with the interface of `subprocess.Popen`."""

    def poll(self) -> int | None:
        """The status with which it ended; None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; return its status.

        Raises:
            TimeoutError: it runs still.
        """
        self.process.join(timeout)
        if self.returncode is None:
            raise TimeoutError
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it has not ended."""
        with suppress(ProcessLookupError):
            super().send_signal(number)


class _Output(asyncio.StreamReaderProtocol):
    """Reads a pipe, and closes it at its end. uvloop would leave it open."""

    def eof_received(self) -> bool:
        super().eof_received()
        return False


async def start(
    command: Sequence[str], environment: Mapping[str, str], directory: Path | None = None
) -> Fork:
    """Start a command with pipes. The arguments are those of `begin`."""
    loop = asyncio.get_running_loop()
    (theirs, to), (out, their_out), (err, their_err) = os.pipe(), os.pipe(), os.pipe()
    # The first fork waits until all has been imported. The event loop does not.
    passed = (theirs, their_out, their_err)
    process = await asyncio.to_thread(begin, command, environment, directory, passed)
    for number in passed:
        os.close(number)
    protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader())
    transport, _ = await loop.connect_write_pipe(lambda: protocol, os.fdopen(to, "wb", 0))
    fork = Fork(process, asyncio.StreamWriter(transport, protocol, None, loop))
    for number, reader in ((out, fork.stdout), (err, fork.stderr)):
        made = partial(_Output, reader)
        await loop.connect_read_pipe(made, os.fdopen(number, "rb", 0))
    return fork
