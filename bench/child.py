"""A child process that is asked by lines of JSON, and what it costs: CPU time and memory. Linux."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from broadcaster.errors import BroadcasterError
from broadcaster.settings import PREFIX

_STOP_TIMEOUT_S = 20.0


class ChildError(BroadcasterError):
    """A child process has ended when it should not."""


class Child:
    """A module of ours, running. Leaving its block ends it."""

    def __init__(self, environment: dict[str, str], module: str, *arguments: str) -> None:
        ours = {name: value for name, value in environment.items() if not name.startswith(PREFIX)}
        self._module = module
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=ours,
            start_new_session=True,  # Ctrl-C reaches us alone, and we end it
        )
        # As clock_getcpuclockid(3) makes it: nanoseconds, where /proc has hundredths of a second.
        self._cpu_clock = (~self._process.pid << 3) | 2

    def tell(self, **command: Any) -> None:
        """Give a command; `answer` waits for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Wait for the next line.

        Raises:
            ChildError: it has ended.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ChildError(f"{self._module} has ended with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, **command: Any) -> dict[str, Any]:
        """Give a command and wait for its answer."""
        self.tell(**command)
        return self.answer()

    @property
    def cpu_s(self) -> float:
        """CPU time of all its threads so far, user and system."""
        return time.clock_gettime(self._cpu_clock)

    def pss_bytes(self) -> int:
        """Its memory: the proportional set size, which counts shared pages by their sharers."""
        for line in Path(f"/proc/{self._process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
        raise ChildError("the kernel does not tell a process's memory")

    def stop(self) -> None:
        """Send SIGTERM, for one that answers with a last line."""
        self._process.terminate()

    def __enter__(self) -> Child:
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
            self._process.kill()
            self._process.wait()
