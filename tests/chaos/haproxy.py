"""A real HAProxy before nodes, which never answers what would end an `EventSource`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from broadcaster.backend.embedded import free_port
from tests.chaos.processes import command
from tests.wait import until

# Checks as in `deploy/haproxy.cfg`: what does not answer for a moment is busy, not dead.
_CONFIG = """
defaults
    mode http
    timeout connect 1s
    timeout check 2s
    timeout client 1h
    timeout server 1h
    retries 3
    option redispatch
    option http-no-delay
{errors}
frontend clients
    bind 127.0.0.1:{port}
    maxconn 20000
    default_backend nodes
backend nodes
    balance leastconn
    option httpchk GET /readyz
    default-server check inter 1s fastinter 250ms downinter 500ms fall 2 rise 1
    default-server observe layer4 error-limit 1 on-error mark-down
{nodes}
"""
# Any status but 200 ends an EventSource for good: trouble that passes is a stream that ends.
_COME_BACK = (
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
    "Connection: close\r\n\r\n: no node for now\nretry: 2000\n"
    "event: stream.at\ndata: {}\n\n"
)


@asynccontextmanager
async def balanced(directory: Path, ports: Sequence[int]) -> AsyncIterator[tuple[str, int]]:
    """Run HAProxy before nodes.

    Yields:
        Where it listens.
    """
    answer, port = directory / "come-back.http", free_port()
    answer.write_bytes(_COME_BACK.encode())
    config = directory / "haproxy.cfg"
    config.write_text(
        _CONFIG.format(
            port=port,
            errors="\n".join(f"    errorfile {status} {answer}" for status in (502, 503, 504)),
            nodes="\n".join(f"    server node{p} 127.0.0.1:{p}" for p in ports),
        )
    )
    with (directory / "haproxy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command("-c", _EXEC, "haproxy", "-db", "-f", str(config)), stdout=log, stderr=log
        )
    try:
        await until(lambda: _listens(port), 10.0)
        yield "127.0.0.1", port
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


_EXEC = "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"


async def _listens(port: int) -> bool:
    with suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        return True
    return False
