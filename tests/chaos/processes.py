"""The processes of a scenario: nodes, and the one with the clients. Linux."""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import orjson
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from broadcaster.backend.embedded import free_port
from broadcaster.backend.lifeline import bound_to_us
from tests.wait import PATIENCE_S, until

_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG, prctl(2)
_START_TIMEOUT_S = PATIENCE_S
_READY_TIMEOUT_S = 5.0
_STOP_TIMEOUT_S = PATIENCE_S
_LINE_LIMIT = 1 << 24
_LOAD_ENDED = "the load generator has ended"


def die_with_parent() -> None:
    """Let the kernel end this process when its parent has died, even of SIGKILL."""
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGTERM)


def command(*arguments: str) -> list[str]:
    """A Python command that ends with us."""
    return bound_to_us([sys.executable, *arguments])


class Command:
    """A command of the hub that can be started again and again.

    Attributes:
        module: that is run.
        log: what it writes.
        settings: by the names of the environment, without the prefix, in lower case.
        status: how its last process ended.
    """

    module = "broadcaster"

    def __init__(self, log: Path, settings: dict[str, Any]) -> None:
        self.log = log
        self.settings = settings
        self.status: int | None = None
        self._process: Process | None = None

    async def _run(self, *arguments: str) -> None:
        ours = {f"BROADCASTER_{name.upper()}": str(v) for name, v in self.settings.items()}
        others = {k: v for k, v in os.environ.items() if not k.startswith("BROADCASTER_")}
        with self.log.open("ab") as file:
            self._process = await asyncio.create_subprocess_exec(
                *command("-m", self.module, *arguments),
                env={**others, **ours},
                stdout=file,
                stderr=file,
            )

    @property
    def pid(self) -> int:
        """Of its process, which runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """True if it has neither been ended nor ended by itself."""
        return self._process is not None and self._process.returncode is None

    def signal(self, number: int) -> None:
        """Send a signal to its process."""
        if self.running:
            os.kill(self.pid, number)

    async def ended(self) -> int:
        """Wait until it has ended; its status."""
        assert self._process is not None
        self.status = await asyncio.wait_for(self._process.wait(), _STOP_TIMEOUT_S)
        return self.status

    async def kill(self) -> None:
        """End it without a goodbye."""
        self.signal(signal.SIGKILL)
        await self.ended()

    async def aclose(self) -> None:
        """End it in any case."""
        if self.running:
            self.signal(signal.SIGCONT)
            await self.kill()


class Folder(Command):
    """`broadcaster fold`."""

    async def start(self) -> None:
        """Start it; what it writes to Redis says when it works."""
        await self._run("fold")


class Worker(Command):
    """A worker of runs, see `tests.chaos.worker`."""

    module = "tests.chaos.worker"

    async def start(self, manner: dict[str, Any]) -> None:
        """Start it."""
        await self._run(orjson.dumps(manner).decode())


class Node(Command):
    """`broadcaster serve` on a port that stays its own.

    Attributes:
        client: an HTTP client of it.
    """

    def __init__(self, log: Path, settings: dict[str, Any]) -> None:
        super().__init__(log, settings)
        self.port = free_port()
        # It is asked for figures while the machine is busy. How fast it answers is no finding here.
        url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.AsyncClient(base_url=url, timeout=PATIENCE_S)

    @property
    def target(self) -> tuple[str, int]:
        """Where it listens."""
        return ("127.0.0.1", self.port)

    async def start(self, *, ready: bool = True) -> None:
        """Start it, and wait until it is ready."""
        await self._run("serve", "--port", str(self.port))
        if ready:
            await until(self.is_ready, _START_TIMEOUT_S)

    async def get(self, path: str) -> httpx.Response:
        """Ask it something short."""
        return await self.client.get(path)

    async def samples(self, name: str) -> list[Sample]:
        """Return the samples of a metric in `/metrics`. There are none if the metric is missing."""
        families = text_string_to_metric_families((await self.get("/metrics")).text)
        return [sample for f in families for sample in f.samples if sample.name == name]

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels.

        Raises:
            LookupError: there is none.
        """
        found = [s for s in await self.samples(name) if labels.items() <= s.labels.items()]
        if not found:
            raise LookupError(f"/metrics has no {name} {labels}")
        return sum(sample.value for sample in found)

    async def times_late(self) -> int:
        """How often its event loop was late by more than 0.1 s, as it counts itself.

        It looks each 0.05 s, so that of a stall it may notice that much less.
        """
        found = await self.samples("broadcaster_event_loop_lag_seconds_bucket")
        counts = {sample.labels["le"]: int(sample.value) for sample in found}
        return counts["+Inf"] - counts["0.1"]

    async def is_ready(self) -> bool:
        """Return True if `/readyz` says so."""
        with suppress(httpx.TransportError):
            answer = await self.client.get("/readyz", timeout=_READY_TIMEOUT_S)
            return answer.status_code == 200
        return False

    async def is_healthy(self) -> bool:
        """Return True if `/v1/health` says that nothing is wrong."""
        with suppress(httpx.TransportError):
            answer = await self.client.get("/v1/health", timeout=_READY_TIMEOUT_S)
            return answer.status_code == 200
        return False

    async def aclose(self) -> None:
        """End it in any case."""
        await self.client.aclose()
        await super().aclose()

    def rss_bytes(self) -> int:
        """Its resident memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def peak_rss_bytes(self) -> int:
        """The most that it ever had."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024

    def forget_peak(self) -> None:
        """Let `peak_rss_bytes` begin anew."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")  # proc(5)

    def cpu_s(self) -> float:
        """The time that it has run so far, in seconds of one core."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def open_files(self) -> int:
        """How many file descriptors it has."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))


class Pod(Node):
    """An application with answers, see `tests.chaos.pod`."""

    module = "tests.chaos.pod"


class LoadError(Exception):
    """The process with the clients has failed: the run is worthless."""


class LoadProcess:
    """The clients; see `tests.chaos.load`, or another module with such commands."""

    def __init__(self, module: str = "tests.chaos.load") -> None:
        self._module = module
        self._process: Process | None = None
        self._numbers = itertools.count()
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reader: asyncio.Task[None] | None = None
        self._ended = False

    @property
    def pid(self) -> int:
        """Of its process, which runs."""
        assert self._process is not None
        return self._process.pid

    async def start(self, seed: int) -> None:
        """Start it."""
        self._process = await asyncio.create_subprocess_exec(
            *command("-m", self._module, str(seed)),
            stdin=PIPE,
            stdout=PIPE,
            limit=_LINE_LIMIT,
        )
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            answer = orjson.loads(line)
            self._answers.pop(answer.pop("n")).set_result(answer)
        self._ended = True
        for waiting in self._answers.values():
            waiting.set_exception(LoadError(_LOAD_ENDED))

    async def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Give a command, and wait for its answer.

        Raises:
            LoadError: it could not be done.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        if self._ended:
            raise LoadError(_LOAD_ENDED)
        number = next(self._numbers)
        answer = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        self._process.stdin.write(orjson.dumps({"n": number, "do": do, **arguments}) + b"\n")
        found: dict[str, Any] = await answer
        if "error" in found:
            raise LoadError(f"{do}: {found['error']}")
        return found

    async def aclose(self) -> None:
        """End it in any case."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        if self._reader is not None:
            await self._reader
