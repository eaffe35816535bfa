"""Many clients in a process of their own. It takes commands, a line of JSON each, and answers each.

    python -m tests.chaos.load SEED
    {"n": 1, "do": "open", "group": "all", "count": 2000, "path": "/v1/…", "subscription": {…}}

The methods of `Load` are the commands; `n` comes back with the answer, which need not be in turn.
"""

from __future__ import annotations

import asyncio
import random
import resource
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import uvloop

from tests.chaos.client import Client, Memory
from tests.chaos.history import Id, subscription_from
from tests.wait import until

_POLL_S = 0.05
_WAVE = 100
_LOOK_EVERY_S = 0.1
_LOOK_TIMEOUT_S = 30.0


class Load:
    """Groups of clients, and what can be done to them."""

    def __init__(self, seed: int) -> None:
        self._memory = Memory(random=random.Random(seed))
        self._clients: list[Client] = []

    def _of(self, group: str) -> list[Client]:
        return [client for client in self._clients if group in ("", client.group)]

    async def aim(self, targets: list[list[Any]]) -> dict[str, Any]:
        """Set the addresses for new connections."""
        self._memory.targets = [(host, port) for host, port in targets]
        return {}

    async def open(
        self,
        group: str,
        count: int,
        path: str,
        subscription: dict[str, Any],
        source: str = "",
        cuts: Sequence[int] = (),
        last_id: str = "",
        timeout_s: float = 60.0,
    ) -> dict[str, Any]:
        """Add clients, and wait until each has been live."""
        added: list[Client] = []
        for number in range(count):
            client = Client(self._memory, group, number, path, subscription_from(subscription))
            client.source = source or client.source
            client.cut_at = cuts[number] if cuts else 0
            if last_id:
                client.resume_from(last_id)
            added.append(client)
            client.connect()
            if number % _WAVE == _WAVE - 1:
                await asyncio.sleep(_POLL_S)
        self._clients += added
        return await self._until(
            lambda: sum(not (c.arrived or c.stopped) or c.cut_at > 0 for c in added), timeout_s
        )

    async def _until(self, left: Callable[[], int], timeout_s: float) -> dict[str, Any]:
        started_s = time.monotonic()
        with suppress(TimeoutError):
            await until(lambda: not left(), timeout_s)
        return {"left": left(), "seconds": time.monotonic() - started_s}

    async def live(self, timeout_s: float, group: str = "") -> dict[str, Any]:
        """Wait until all clients are connected and live."""
        clients = self._of(group)
        return await self._until(
            lambda: sum(not client.live and not client.stopped for client in clients), timeout_s
        )

    async def reach(
        self, group: str, positions: dict[str, list[int]], timeout_s: float
    ) -> dict[str, Any]:
        """Wait until all clients of a group are connected, and at these positions or past them."""
        wanted: dict[str, Id] = {name: (ms, seq) for name, (ms, seq) in positions.items()}

        def is_there(client: Client) -> bool:
            at = client.positions()
            there = all(at.get(name, (-1, -1)) >= id_ for name, id_ in wanted.items())
            return client.stopped or (client.live and there)

        clients = self._of(group)
        return await self._until(lambda: sum(not is_there(client) for client in clients), timeout_s)

    async def churn(self, mean_life_s: float) -> dict[str, Any]:
        """Cut connections at random. With 0, connections that are opened later are not cut."""
        self._memory.mean_life_s = mean_life_s
        for client in self._clients:
            client.live_on()
        return {}

    async def drop(self, group: str = "", share: float = 1.0) -> dict[str, Any]:
        """Cut connections now, all at once."""
        clients = self._of(group)
        chosen = self._memory.random.sample(clients, round(len(clients) * share))
        for client in chosen:
            client.cut()
        return {"dropped": len(chosen)}

    async def leave(self, group: str, complete: bool = False) -> dict[str, Any]:
        """Stop a group for good. With `complete`, its clients must have received all events."""
        for client in self._of(group):
            client.leave(complete=complete)
        return {}

    async def read_on(self, group: str, wanted: bool) -> dict[str, Any]:
        """Let a group stop reading, or go on."""
        for client in self._of(group):
            client.read_on(wanted)
        return {}

    async def received(self, group: str) -> dict[str, Any]:
        """The most bytes that one of a group's connections has got."""
        return {"received": max(client.received for client in self._of(group))}

    async def look(self, paths: list[str], target: list[Any], source: str) -> dict[str, Any]:
        """Open some pages from an address, one after the other, each until it is live.

        Returns:
            How long each took, in milliseconds.
        """
        took_ms = []
        for path in paths:
            began_s = time.monotonic()
            async with asyncio.timeout(_LOOK_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(*target, local_addr=(source, 0))
                writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                await reader.readuntil(b"event: stream.live")
            took_ms.append((time.monotonic() - began_s) * 1000)
            writer.transport.abort()
            await asyncio.sleep(_LOOK_EVERY_S)
        return {"ms": took_ms}

    async def finish(self, path: str) -> dict[str, Any]:
        """Let all clients go, and write what they saw."""
        for client in self._clients:
            client.leave()
        await asyncio.sleep(_POLL_S)
        self._memory.recording.save(Path(path))
        return {"cpu_s": time.process_time()}


async def obey(load: Any) -> None:
    """Let an object do what stdin says until that ends: the commands are its methods."""
    reader = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    tasks: set[asyncio.Task[None]] = set()
    async for line in reader:
        task = asyncio.create_task(_do(load, orjson.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def _do(load: Any, command: dict[str, Any]) -> None:
    number, method = command.pop("n"), getattr(load, command.pop("do"))
    try:
        answer = await method(**command)
    except Exception as error:  # the caller must not wait for ever
        answer = {"error": repr(error)}
    sys.stdout.buffer.write(orjson.dumps({"n": number, **answer}) + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    """Run until stdin ends."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(obey(Load(int(sys.argv[1]))))


if __name__ == "__main__":
    main()
