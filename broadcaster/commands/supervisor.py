"""The processes of `serve --workers N`: started by a small parent, replaced when they die, stopped.

On Linux each has its own listening socket on the port (SO_REUSEPORT), so that the kernel spreads
clients evenly. The parent keeps all of them open: clients of a node that is being replaced wait
instead of being refused. uvicorn has a supervisor too, but hands its server to the processes by
pickling, which ours, with a node in it, does not survive.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import orjson

from broadcaster.commands import processes
from broadcaster.settings import PREFIX, Settings

logger = logging.getLogger(__name__)

_STOP_GRACE_S = 10.0
_BACKOFF_S = (0.1, 5.0)
_LONG_LIFE_S = 10.0


class Child(NamedTuple):
    """What a process of `serve --workers` is told by its parent.

    Attributes:
        process: its number.
        fds: open, listening sockets to serve on.
        directory: where the processes find each other.
    """

    process: int
    fds: list[int]
    directory: str

    @classmethod
    def parse(cls, text: str) -> Child:
        """Read what `str` wrote."""
        return cls(*orjson.loads(text))

    def __str__(self) -> str:
        return orjson.dumps(tuple(self)).decode()


async def supervise(
    settings: Settings, config: str | None, sockets: Sequence[Sequence[socket.socket]]
) -> None:
    """Keep a node running on each group of sockets until a signal asks to stop."""
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    port = sockets[0][0].getsockname()[1]
    environment = _environment(settings.model_copy(update={"port": port}), config)
    stop_s = settings.drain_s + _STOP_GRACE_S
    with TemporaryDirectory(prefix="broadcaster-") as directory:
        nodes = []
        for process, group in enumerate(sockets):
            child = Child(process, [sock.fileno() for sock in group], directory)
            nodes.append(asyncio.create_task(keep(child, environment, stop_s)))
        await stopping.wait()
        for group in sockets:
            for sock in group:
                sock.close()
        for node in nodes:
            node.cancel()
        await asyncio.gather(*nodes, return_exceptions=True)


def _environment(settings: Settings, config: str | None) -> dict[str, str]:
    """What makes a process read the same settings: flags win over the environment.

    Not arguments: other users of the machine could read the url's password there.
    """
    shown = ("redis_url", "log_level", "port")
    ours = {PREFIX + name.upper(): str(getattr(settings, name)) for name in shown}
    if config:
        ours[PREFIX + "CONFIG"] = str(Path(config).resolve())
    return {**os.environ, **ours}


async def keep(child: Child, environment: dict[str, str], stop_s: float) -> None:
    """Run a node process, and another one when it dies. Cancelling stops it cleanly."""
    wait_s = _BACKOFF_S[0]
    command = [sys.executable, "-P", "-m", "broadcaster", "serve", "--child", str(child)]
    while True:
        started_s = time.monotonic()
        try:
            process = await processes.start(command, env=environment, pass_fds=child.fds)
        except OSError as error:  # no memory, or too many processes: that may pass
            logger.error("node process %d can't be started, trying again: %s", child.process, error)
        else:
            try:
                status = await process.wait()
            finally:
                await processes.stop([process], stop_s)
            logger.error(
                "node process %d %s: starting another", process.pid, processes.how_it_ended(status)
            )
        lived_s = time.monotonic() - started_s
        wait_s = _BACKOFF_S[0] if lived_s > _LONG_LIFE_S else min(wait_s * 2, _BACKOFF_S[1])
        await asyncio.sleep(wait_s)
