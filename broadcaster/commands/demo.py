"""`broadcaster demo`: the whole hub on one machine, for trying it out.

It runs a private Valkey, a node and a folder in this process, and each worker of the pet store in a
process of its own. However it ends, it leaves no process running.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, STDOUT, Process
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from rich.console import Console
from rich.live import Live
from rich.text import Text

from broadcaster.app import create_app
from broadcaster.backend.embedded import EmbeddedRedis
from broadcaster.backend.log import Status
from broadcaster.commands import host as machine
from broadcaster.commands import pet_store, processes
from broadcaster.commands.demo_access import CHANNELS, access, page_token
from broadcaster.commands.logs import printable
from broadcaster.commands.output import say
from broadcaster.node.node import Node
from broadcaster.node.state.folder import Folder, folded
from broadcaster.settings import Settings, load_settings
from broadcaster.web.hosts import with_default_hosts
from broadcaster.web.uvicorn.server import make_server

logger = logging.getLogger(__name__)

RATES = {"inventory": 20, "orders": 5, "recommendations": 4, "desk": 20}
"""Events per second of each worker. For `recommendations` it is of each request, and for `desk` how
often it looks for what the page asks."""

# An order takes 5 to 15 s, so that a person can follow it. The worker may be a little late.
_PACE = {"orders": ("--order-s", "6", "13")}

_DRAIN_S = 1.0
_STOP_S = 5.0
_FIRST_ORDER_S = 5.0
_LAST_LINES = 5


def run(host: str | None, port: int | None) -> int:
    """Run the demo until SIGINT, SIGTERM or SIGHUP.

    Returns:
        The exit status: 0 after a clean stop.

    Raises:
        ConfigurationError: the address can't be listened on; nothing was started.
        BackendUnavailableError: the private server did not start.
    """
    settings = load_settings(host=host, port=port)
    (sock,) = machine.listen(settings.host, settings.port)
    machine.raise_file_limit()
    # Until the server handles the signals, each raises KeyboardInterrupt, so that all `finally`
    # blocks run.
    for number in machine.stop_signals():
        signal.signal(number, signal.default_int_handler)
    try:
        with sock, EmbeddedRedis() as redis:
            # The workers feed these channels, so channels in the environment are ignored.
            settings = load_settings(
                redis_url=redis.url,
                host=host,
                port=port,
                drain_s=_DRAIN_S,
                metrics_port=0,  # the demo has one socket
                channels=CHANNELS,
                **access(settings.host),
            )
            return _Demo(with_default_hosts(settings), sock).run()
    except KeyboardInterrupt:
        return 0


class _Demo:
    """A node, its workers, and the statistics on the terminal."""

    def __init__(self, settings: Settings, sock: socket.socket) -> None:
        app = create_app(settings)
        app.state.shown_redis_url = settings.redis_url
        if make := page_token(settings):
            app.state.page_token = make
        self._node: Node = app.state.node
        self._sock = sock
        self._url = machine.url_of(sock, secure=bool(settings.tls_certificate))
        self._redis_url = settings.redis_url
        self._workers: dict[str, Process] = {}
        self._stopped = asyncio.Event()
        self._server = make_server(app, self._drain, settings, self._node.meters)

    def run(self) -> int:
        """Run on the event loop that `serve` uses. Return the exit status."""
        with asyncio.Runner(loop_factory=self._server.config.get_loop_factory()) as runner:
            return runner.run(self._run())

    async def _run(self) -> int:
        workers = [asyncio.create_task(self._work(name)) for name in RATES]
        workers.append(asyncio.create_task(self._folder().run(self._stopped)))
        self._showing = asyncio.create_task(self._show())
        try:
            await self._server.serve(sockets=[self._sock])
        finally:
            await self._stop()
            await asyncio.gather(*workers, return_exceptions=True)
        return 0 if self._server.started else 1

    def _folder(self) -> Folder:
        settings = self._node.settings
        streams = folded(settings.channels.values())
        return Folder(self._redis_url, streams, max_event_bytes=settings.max_event_bytes)

    async def _drain(self) -> None:
        """Stop the workers, then end the responses. Both need Valkey, so it stops last."""
        await self._stop()
        await self._node.drain()

    async def _stop(self) -> None:
        """Stop the statistics and the workers. May be called twice."""
        self._stopped.set()
        self._showing.cancel()
        # `gather` returns an error instead of raising it, so the workers are stopped all the same.
        (failed,) = await asyncio.gather(self._showing, return_exceptions=True)
        if isinstance(failed, Exception):
            logger.error("the statistics ended: %s", failed)
        await processes.stop(self._workers.values(), _STOP_S)

    async def _work(self, name: str) -> None:
        """Run a worker. Log its warnings, and an error if it ends by itself."""
        # -P: do not import a package of the same name from the working directory.
        command = [
            sys.executable,
            "-P",
            "-m",
            pet_store.package(),
            name,
            "--rate",
            str(RATES[name]),
        ]
        command += _PACE.get(name, ())
        command += ["--redis-url", self._redis_url]
        process = await processes.start(command, stdout=PIPE, stderr=STDOUT)
        self._workers[name] = process
        assert process.stdout is not None
        last: deque[str] = deque(maxlen=_LAST_LINES)
        async for line in process.stdout:
            text = line.decode(errors="replace").rstrip()
            last.append(text)
            if " WARNING " in text and not self._stopped.is_set():
                logger.warning("worker %s: %s", name, text)
        status = await process.wait()
        if not self._stopped.is_set():
            logger.error("worker %s %s: %s", name, processes.how_it_ended(status), " / ".join(last))

    async def _show(self) -> None:
        await _until(lambda: not self._node.problems())
        welcome = _WELCOME.format(
            url=self._url,
            order=await self._an_order(),
            redis_url=self._node.settings.redis_url,
            command=_command(),
        )
        say(welcome)
        statistics = Statistics(self._node)
        with _line_in_place() as show:
            while True:
                await asyncio.sleep(1)
                show(str(statistics.sample(time.monotonic())))

    async def _an_order(self) -> str:
        """Return the key of the newest order, for a command that can be copied."""
        window = self._node.hub.windows["orders"]
        with suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_ORDER_S):
                await _until(lambda: len(window) > 0)
        frames, _ = window.after(window.floor)
        return printable(frames[-1].key) if frames else "ORDER"


def _command() -> str:
    """Return this program as the user called it, so that the printed commands can be copied."""
    with suppress(OSError):  # the working directory was removed
        if os.sep in sys.argv[0]:
            return os.path.relpath(sys.argv[0])
    return sys.argv[0]


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 -- a node has nothing else to wait for
        await asyncio.sleep(0.05)


_WELCOME = """
The page                {url}/
All stock and prices    curl -N '{url}/v1/inventory/stream?from=state'
One order               curl -N {url}/v1/orders/{order}/status/stream
Made for you            curl -N '{url}/v1/pets/recommendations/stream?userId=you'
Several channels        {command} tail inventory,orders --base-url {url}
An event of your own    {command} publish inventory --data hello --redis-url {redis_url}

Ctrl-C stops everything.
"""


class Sample(NamedTuple):
    """Clients and rates over about one second."""

    clients: int
    events_per_s: float
    deliveries_per_s: float
    lag_ms: float

    def __str__(self) -> str:
        return (
            f"clients {self.clients:,}  events/s {self.events_per_s:,.0f}  "
            f"deliveries/s {self.deliveries_per_s:,.0f}  lag {self.lag_ms:,.1f} ms"
        )


class Statistics:
    """A node's counters as rates."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._before_s = time.monotonic()
        self._events, self._deliveries = self._counters()

    def _counters(self) -> tuple[int, int]:
        events = sum(status.frames for status in self._statuses())
        return events, self._node.hub.deliveries

    def _statuses(self) -> list[Status]:
        return [self._node.log.status(stream) for stream in self._node.hub.windows]

    def sample(self, now_s: float) -> Sample:
        """Return the rates since the last call.

        The lag is the time from the newest event's id until the event was written to its clients.
        While a stream can't be read, the lag is the time since it could be.
        """
        passed_s = max(now_s - self._before_s, 1e-3)
        events, deliveries = self._counters()
        behind_ms = max(status.lag_s for status in self._statuses()) * 1000
        sample = Sample(
            len(self._node.hub.subscribers),
            (events - self._events) / passed_s,
            (deliveries - self._deliveries) / passed_s,
            max(0.0, behind_ms or self._node.health.write_lag_ms),
        )
        self._before_s, self._events, self._deliveries = now_s, events, deliveries
        return sample


@contextmanager
def _line_in_place() -> Iterator[Callable[[str], object]]:
    """Yield a function that shows a line. On a terminal it replaces the line before it."""
    console = Console()
    if not console.is_terminal:
        yield say
        return
    # Log lines appear above it, because `Live` replaces stdout and stderr meanwhile.
    with Live(console=console, auto_refresh=False) as live:
        yield lambda text: live.update(Text(text), refresh=True)
