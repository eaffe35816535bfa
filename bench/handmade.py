"""A typical handwritten endpoint: sse-starlette, a queue per client, one reader of Redis.

It prints its port. It sends the same events as the hub. It does not resume, and it does not
disconnect slow clients. Starlette and uvicorn are the same versions as the hub's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import redis.asyncio
import uvicorn
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from bench.events import CHANNEL, PATH
from broadcaster.commands.host import listen, raise_file_limit

_queues: set[asyncio.Queue[ServerSentEvent]] = set()


async def _stream(_: Request) -> EventSourceResponse:
    queue: asyncio.Queue[ServerSentEvent] = asyncio.Queue()
    _queues.add(queue)

    async def events() -> AsyncIterator[ServerSentEvent]:
        try:
            while True:
                yield await queue.get()
        finally:
            _queues.discard(queue)

    return EventSourceResponse(events())


async def _read(url: str) -> None:
    client: Any = redis.asyncio.Redis.from_url(url, socket_timeout=None)  # its types are wide
    last = "$"
    while True:
        reply = await client.xread({CHANNEL: last}, count=1000, block=1000)
        for _, entries in reply or ():
            for entry_id, fields in entries:
                last = entry_id.decode()
                for queue in _queues:
                    queue.put_nowait(
                        ServerSentEvent(
                            fields[b"data"].decode(), event=fields[b"type"].decode(), id=last
                        )
                    )


@contextlib.asynccontextmanager
async def _lifespan(_: Starlette) -> AsyncIterator[None]:
    reader = asyncio.create_task(_read(sys.argv[1]))
    yield
    reader.cancel()


def main() -> None:
    """Serve until SIGTERM."""
    raise_file_limit()
    app = Starlette(routes=[Route(PATH, _stream)], lifespan=_lifespan)
    config = uvicorn.Config(app, access_log=False, log_level="error", timeout_graceful_shutdown=1)
    (listener,) = listen("127.0.0.1", 0)
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
