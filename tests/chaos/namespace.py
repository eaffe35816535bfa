"""A private network namespace, to drop packets without harm to others. Needs Linux and root."""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET, unshare(2)


def missing() -> str:
    """Return what this machine lacks for a namespace, or an empty text."""
    if os.geteuid() != 0:
        return "a network namespace needs root"
    tools = [tool for tool in ("ip", "iptables") if shutil.which(tool) is None]
    return f"not on the PATH: {', '.join(tools)}" if tools else ""


@contextmanager
def own_network() -> Iterator[None]:
    """Move this thread into a new network that has only a loopback.

    Raises:
        OSError: the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _try(libc.unshare(_NEW_NETWORK))
        try:
            if os.spawnlp(os.P_WAIT, "ip", "ip", "link", "set", "lo", "up"):
                raise OSError("the loopback interface can't be set up")
            yield
        finally:
            _try(libc.setns(before, _NEW_NETWORK))
    finally:
        os.close(before)


def _try(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def limit_send_buffers(size: int) -> None:
    """Let the kernel keep so many bytes for a connection, and no more, that is not read from."""
    Path("/proc/sys/net/ipv4/tcp_wmem").write_text(f"4096 {min(16384, size)} {size}")


async def drop_packets(address: str, *, wanted: bool = True) -> None:
    """Drop all packets from and to an address, or pass them on again."""
    for way in ("--source", "--destination"):
        action = "--append" if wanted else "--delete"
        process = await asyncio.create_subprocess_exec(
            "iptables", action, "INPUT", way, address, "--jump", "DROP"
        )
        if await process.wait():
            raise OSError("iptables has failed")
