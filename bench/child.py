"""Child processes: one of ours that is asked by lines of JSON, and what a family of them costs."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from broadcaster.errors import BroadcasterError
from broadcaster.settings import PREFIX

_STOP_TIMEOUT_S = 10.0
_PDEATHSIG = 1  # prctl(2): it is sent a signal when we die, however we die


class ChildError(BroadcasterError):
    """A child process has ended when it should not."""


class Process:
    """A command that runs, and all that it has started. Leaving its block ends it."""

    def __init__(self, command: Sequence[str], **variables: str) -> None:
        """Start it.

        Args:
            command: a program and its arguments.
            variables: its environment variables. It has no other settings of a hub.
        """
        ours = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        self._command = command
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=ours | variables,
            start_new_session=True,  # Ctrl-C reaches us alone, and we end it
            preexec_fn=_die_with_us,
        )

    @property
    def pids(self) -> list[int]:
        """Its id, and those of all that it has started."""
        return list(_family(self._process.pid))

    @property
    def cpu_s(self) -> float:
        """CPU time of all its processes and threads so far, user and system."""
        # As clock_getcpuclockid(3) makes it: nanoseconds, where /proc has hundredths of a second.
        return sum(time.clock_gettime((~pid << 3) | 2) for pid in self.pids)

    def pss_bytes(self) -> int:
        """Memory of all its processes. A page that several of them share counts once."""
        return sum(_pss_bytes(pid) for pid in self.pids)

    def line(self) -> str:
        """Wait for the next line that it prints.

        Raises:
            ChildError: it has ended.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ChildError(f"{self._command} has ended with status {self._process.wait()}")
        return line

    def write(self, line: str) -> None:
        """Give it a line to read."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def stop(self) -> None:
        """Send SIGTERM, for one that answers with a last line."""
        self._process.send_signal(signal.SIGTERM)

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        try:
            self._process.communicate(timeout=_STOP_TIMEOUT_S)
        except (subprocess.TimeoutExpired, OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


class Child(Process):
    """A module of ours, which reads and writes lines of JSON."""

    def __init__(self, module: str, *arguments: str) -> None:
        super().__init__([sys.executable, "-m", module, *arguments])

    def tell(self, **command: Any) -> None:
        """Give a command; `answer` waits for its answer."""
        self.write(json.dumps(command))

    def answer(self) -> dict[str, Any]:
        """Wait for the next answer. See `line`."""
        answer: dict[str, Any] = json.loads(self.line())
        return answer

    def ask(self, **command: Any) -> dict[str, Any]:
        """Give a command and wait for its answer."""
        self.tell(**command)
        return self.answer()

    def __enter__(self) -> Child:
        return self


_PRCTL = ctypes.CDLL(None).prctl


def _die_with_us() -> None:
    _PRCTL(_PDEATHSIG, signal.SIGTERM)


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _family(int(child))


def _pss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise ChildError("the kernel does not tell a process's memory")
