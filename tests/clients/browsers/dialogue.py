"""Commands and answers in JSON over a WebSocket, as Chromium and Firefox speak them."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from tests.wait import PATIENCE_S

# A browser answers while it still starts, so the first answer may take as long as that.
_ANSWER_S = 3 * PATIENCE_S


class Dialogue:
    """Sends commands, and passes events on."""

    def __init__(self, socket: ClientConnection, on_event: Callable[[dict[str, Any]], None]):
        self._socket, self._on_event = socket, on_event
        self._ids = itertools.count(1)
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def read(self) -> None:
        """Read answers and events until the connection ends."""
        async for text in self._socket:
            message = json.loads(text)
            if message.get("id") is None:
                self._on_event(message)
            else:
                self._asked.pop(message["id"]).set_result(message)

    async def ask(self, **command: Any) -> dict[str, Any]:
        """Send a command and return the whole answer to it."""
        number = next(self._ids)
        self._asked[number] = asyncio.get_running_loop().create_future()
        await self._socket.send(json.dumps({"id": number, **command}))
        async with asyncio.timeout(_ANSWER_S):
            return await self._asked[number]


@asynccontextmanager
async def talking(
    address: str, on_event: Callable[[dict[str, Any]], None]
) -> AsyncIterator[Dialogue]:
    """Keep a connection until the block is left.

    A busy browser answers late. Pings have a shorter limit than commands, so there are none.
    """
    patient: dict[str, Any] = {"open_timeout": _ANSWER_S, "ping_interval": None}
    async with connect(address, max_size=None, proxy=None, **patient) as socket:
        dialogue = Dialogue(socket, on_event)
        reading = asyncio.create_task(dialogue.read())
        try:
            yield dialogue
        finally:
            reading.cancel()
