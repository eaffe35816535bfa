"""TCP servers of the tests' own, which leave no connection open behind them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

Answer: TypeAlias = Callable[
    [asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]
]
# Of the event loop, from the moment when a connection is accepted until it has a reader.
_TURNS = 3


@asynccontextmanager
async def serving(answer: Answer, port: int = 0, **options: Any) -> AsyncIterator[int]:
    """Serve connections at 127.0.0.1 until the block is left; yield the port.

    All connections are cut at the end. asyncio never closes a connection that it accepts just when
    its server is closed. So it stops to accept first.

    Args:
        answer: serves one connection.
        port: where it listens; 0 is a free one.
        options: of `asyncio.start_server`.
    """
    loop, tasks = asyncio.get_running_loop(), dict[asyncio.Task[None], asyncio.StreamWriter]()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks[loop.create_task(answer(reader, writer))] = writer

    server = await asyncio.start_server(begin, "127.0.0.1", port, **options)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        for listener in server.sockets:
            loop.remove_reader(listener)
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        server.close()
        for task, writer in tasks.items():
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # now the sockets of the last ones are closed
