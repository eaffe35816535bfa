"""Workers as processes, and what a client could see of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import orjson
import pytest

from broadcaster import EventId, connect_sync
from broadcaster.core.entry import decode
from broadcaster.core.event import Event
from tests import forks
from tests.wait import PATIENCE_S, until_sync

ROOT = Path(__file__).parents[2]


class WorkerProcess:
    """A `python -m workers …`; what it writes to stderr is in `said()`."""

    def __init__(self, log: Path, url: str, *arguments: str) -> None:
        self._log = log
        command = [sys.executable, "-m", "workers", *arguments, "--redis-url", url]
        self._process: forks.BlockingFork | subprocess.Popen[bytes]
        with log.open("wb") as stderr, open(os.devnull, "r+b") as null:
            if forks.can_run(command, os.environ):
                given = (null.fileno(), null.fileno(), stderr.fileno())
                self._process = forks.BlockingFork(forks.begin(command, os.environ, ROOT, given))
            else:
                self._process = subprocess.Popen(
                    command, cwd=ROOT, stdin=null, stdout=null, stderr=stderr
                )

    def said(self) -> str:
        return self._log.read_text()

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def status(self) -> int | None:
        """The status with which it ended; None while it runs."""
        return self._process.poll()

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        return self._process.wait(timeout_s)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop it once it has started, and return its exit code."""
        until_sync(lambda: "started" in self.said())
        self.send(number)
        return self.wait()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


class StartWorker(Protocol):
    def __call__(self, url: str, *arguments: str) -> WorkerProcess: ...


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[StartWorker]:
    """Starts workers; those that still run at the end are killed."""
    started: list[WorkerProcess] = []

    def start(url: str, *arguments: str) -> WorkerProcess:
        worker = WorkerProcess(tmp_path / f"{len(started)}.log", url, *arguments)
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.kill()


def store_of(url: str) -> Any:
    """A blocking client, which waits for an answer as long as tests wait."""
    return connect_sync(url, timeout_s=PATIENCE_S)


@pytest.fixture
def store(redis_url: str) -> Iterator[Any]:
    """A blocking client of the empty server."""
    with store_of(redis_url) as client:
        yield client


def events_of(client: Any, stream: str) -> list[Event]:
    return [
        decode(EventId.of_entry(id), [w for pair in fields.items() for w in pair], 1_000_000)
        for id, fields in client.xrange(stream)
    ]


def await_events(client: Any, stream: str, count: int, timeout_s: float = PATIENCE_S) -> None:
    """Wait until so many more events are in the stream."""
    goal = client.xlen(stream) + count
    until_sync(lambda: client.xlen(stream) >= goal, timeout_s)


def check_coherence(client: Any) -> None:
    """Every old value of a pet is the last new one, and the last new one is what is stored."""
    last: dict[tuple[str, str], float] = {}
    for event in events_of(client, "inventory"):
        data = orjson.loads(event.data)
        what = {"stock-change": "Stock", "price-change": "Price"}[event.type]
        assert event.key == data["petId"]
        old, new = data[f"old{what}"], data[f"new{what}"]
        assert old == last.get((event.key, what), old), f"lost before {event}"
        assert new >= 0
        assert new != old
        assert what == "Stock" or round(new, 2) == new
        last[event.key, what] = new
    for (pet_id, what), new in last.items():
        field, scale = ("stock", 1) if what == "Stock" else ("cents", 100)
        assert int(client.hget(f"{{inventory}}:pet:{pet_id}", field)) == round(new * scale)
