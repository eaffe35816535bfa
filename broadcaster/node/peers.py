"""Lets the processes of one `serve --workers N` ask each other for metrics.

They share a port, so a scrape reaches any one of them. That process asks the others. Each listens
on a Unix socket. A question is one line: `figures` asks for the metrics, and `alive` comes from the
parent. Closing the connection ends the answer.

On Linux the sockets have abstract names (unix(7)): they need no directory, and nothing of them is
left when a process is killed. Any user of the machine can connect to such a name. So both sides ask
the kernel for the user of the other one. On other systems the sockets are in a directory that only
the processes and their parent can enter.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import struct
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from tempfile import TemporaryDirectory
from typing import TypeAlias

logger = logging.getLogger(__name__)

_ANSWER_S = 2.0
_UCRED = struct.Struct("3i")  # process, user and group, as in unix(7)
_FIGURES, _ALIVE = b"figures\n", b"alive\n"

OwnMetrics: TypeAlias = Callable[[], Awaitable[bytes]]


class Peers:
    """Talks to the other processes.

    Attributes:
        process: the number of this process, from "0" on.
    """

    def __init__(self, place: str = "", process: int = 0, count: int = 1) -> None:
        """Name the processes; nothing is opened before `serve`.

        Args:
            place: of `meeting_place`. Empty means that there are no others.
            process: the number of this process.
            count: the number of processes.
        """
        self._place = place
        self._count = count
        self.process = str(process)

    async def serve(self, figures: OwnMetrics) -> None:
        """Answer the other processes and the parent, until cancelled.

        Args:
            figures: returns the metrics of this process.
        """
        if not self._place:
            return

        async def write(reader: StreamReader, writer: StreamWriter) -> None:
            try:
                with suppress(OSError):  # the peer has gone, or is too slow
                    _check_user(writer)
                    async with asyncio.timeout(_ANSWER_S):
                        is_figures = await reader.readline() == _FIGURES
                        writer.write(await figures() if is_figures else _ALIVE)
                        await writer.drain()
            finally:
                writer.close()

        address = _address(self._place, self.process)
        async with await asyncio.start_unix_server(write, address) as server:
            await server.serve_forever()

    async def gather(self, figures: OwnMetrics) -> dict[str, bytes]:
        """Return the metrics of each process, by its number, without those that do not answer."""
        every = [str(process) for process in range(self._count)] if self._place else []
        others = [process for process in every if process != self.process]
        asking = (_ask(self._place, process, _FIGURES) for process in others)
        answers = await asyncio.gather(figures(), *asking)
        names = [self.process, *others]
        return {name: text for name, text in zip(names, answers, strict=True) if text}


@contextmanager
def meeting_place() -> Iterator[str]:
    """Yield a place for the sockets of some processes, which no others have.

    Raises:
        OSError: no directory can be made. Linux needs none.
    """
    if sys.platform == "linux":
        yield f"@broadcaster-{secrets.token_hex(16)}-"
    else:
        with TemporaryDirectory(prefix="broadcaster-") as directory:
            yield f"{directory}/"


async def listens(place: str, process: int) -> bool:
    """Return True if a process has begun to serve. It may hang since then."""
    try:
        _, writer = await _connect(_address(place, str(process)))
    except OSError:
        return False
    writer.close()
    return True


async def is_alive(place: str, process: int, timeout_s: float) -> bool:
    """Return True if a process answers in time."""
    return await _ask(place, str(process), _ALIVE, timeout_s) == _ALIVE


async def _ask(place: str, process: str, question: bytes, timeout_s: float = _ANSWER_S) -> bytes:
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await _connect(_address(place, process))
            try:
                _check_user(writer)
                writer.write(question)
                return await reader.read()
            finally:
                writer.close()
    except OSError as error:  # the process has died, and will be replaced
        logger.debug("process %s does not answer: %s", process, error)
        return b""


async def _connect(address: str) -> tuple[StreamReader, StreamWriter]:
    # uvloop does not connect to an abstract name itself.
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)
        return await asyncio.open_unix_connection(sock=sock)
    except BaseException:
        sock.close()
        raise


def _address(place: str, process: str) -> str:
    # An abstract name begins with a NUL, which can't be in the arguments of a process.
    return f"\0{place[1:]}{process}" if place.startswith("@") else place + process


def _check_user(writer: StreamWriter) -> None:
    """Raise a PermissionError if the other side is not of our user.

    In a directory, its mode keeps others out.
    """
    if sys.platform == "linux":
        credentials = writer.get_extra_info("socket").getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size
        )
        _, user, _ = _UCRED.unpack(credentials)
        if user != os.geteuid():
            raise PermissionError(f"user {user} is at the other side")
