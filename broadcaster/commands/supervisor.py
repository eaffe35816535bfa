"""Supervises the processes of `serve --workers N`: a small parent starts, replaces and stops them.

The parent replaces a process that ends or hangs. It asks each process every 5 s over a socket of
its own, and kills it after three missed answers.

On Linux each process has its own listening socket on the port (SO_REUSEPORT), so that the kernel
spreads clients evenly. The parent keeps all these sockets open. So clients of a process that is
being replaced wait instead of being refused. uvicorn has a supervisor too, but it pickles its
server for the processes, and our server contains a node, which can't be pickled.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import orjson

from broadcaster.commands import processes
from broadcaster.commands.host import stop_signals
from broadcaster.core.backoff import backoff_s
from broadcaster.node import peers
from broadcaster.settings import PREFIX, Settings

logger = logging.getLogger(__name__)

_OPTIONS = ("host", "port", "redis_url", "log_level")  # of `serve`; children get them as variables
_STOP_GRACE_S = 10.0
_BACKOFF_S = (0.1, 5.0)
_LONG_LIFE_S = 10.0
_ASK_EVERY_S = 5.0
_MISSES = 3
# Time until a process that starts must listen. It is long because a busy machine is slow.
_START_S = 60.0


class Child(NamedTuple):
    """The arguments that a child process of `serve --workers` gets from its parent.

    Attributes:
        process: the number of the child.
        fds: file descriptors of the listening sockets to serve on.
        place: the place of the sockets on which the processes ask each other.
        members: the number of children.
    """

    process: int
    fds: list[int]
    place: str
    members: int

    @classmethod
    def parse(cls, text: str) -> Child:
        """Parse the text that `str` made."""
        return cls(*orjson.loads(text))

    def __str__(self) -> str:
        return orjson.dumps(tuple(self)).decode()


async def supervise(
    settings: Settings, config: str | None, sockets: Sequence[Sequence[socket.socket]]
) -> None:
    """Keep a node running on each group of sockets until a signal asks to stop."""
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in stop_signals():
        loop.add_signal_handler(number, stopping.set)
    port = sockets[0][0].getsockname()[1]
    environment = _environment(settings.model_copy(update={"port": port}), config)
    stop_s = settings.drain_s + _STOP_GRACE_S
    with peers.meeting_place() as place:
        nodes = []
        for process, group in enumerate(sockets):
            child = Child(process, [sock.fileno() for sock in group], place, len(sockets))
            nodes.append(asyncio.create_task(keep(child, environment, stop_s)))
        await stopping.wait()
        for group in sockets:
            for sock in group:
                sock.close()
        for node in nodes:
            node.cancel()
        await asyncio.gather(*nodes, return_exceptions=True)


def _environment(settings: Settings, config: str | None) -> dict[str, str]:
    """Return an environment in which a child reads the same settings. Flags override variables.

    They are not passed as arguments, where other users of the machine could read the password.
    """
    ours = {PREFIX + name.upper(): str(getattr(settings, name)) for name in _OPTIONS}
    if config:
        ours[PREFIX + "CONFIG"] = str(Path(config).resolve())
    return {**os.environ, **ours}


async def keep(child: Child, environment: dict[str, str], stop_s: float) -> None:
    """Run a node process, and another one when it ends or hangs. Cancelling stops it cleanly."""
    failures = 0
    command = [sys.executable, "-P", "-m", "broadcaster", "serve", "--child", str(child)]
    while True:
        started_s = time.monotonic()
        try:
            process = await processes.start(command, env=environment, pass_fds=child.fds)
        except OSError as error:  # out of memory or processes, which may pass
            logger.error("node process %d can't be started, trying again: %s", child.process, error)
        else:
            watch = asyncio.create_task(_end_if_it_hangs(process, child))
            try:
                status = await process.wait()
            finally:
                watch.cancel()
                await processes.stop([process], stop_s)
            logger.error(
                "node process %d %s: starting another", process.pid, processes.how_it_ended(status)
            )
        lived_s = time.monotonic() - started_s
        failures = 0 if lived_s > _LONG_LIFE_S else failures + 1
        await asyncio.sleep(backoff_s(failures, *_BACKOFF_S))


async def _end_if_it_hangs(process: Process, child: Child) -> None:
    """Kill a node process after three missed answers. Its clients reconnect to other processes."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_START_S):
            while not await peers.listens(child.place, child.process):  # noqa: ASYNC110 -- a process
                await asyncio.sleep(_ASK_EVERY_S / 10)
    misses = 0
    while misses < _MISSES:
        next_s = time.monotonic() + _ASK_EVERY_S
        is_alive = await peers.is_alive(child.place, child.process, _ASK_EVERY_S)
        misses = 0 if is_alive else misses + 1
        await asyncio.sleep(next_s - time.monotonic())
    logger.error("node process %d does not answer: ending it", process.pid)
    # SIGKILL at once: a process that hangs would ignore SIGTERM, and its clients are waiting.
    process.kill()
