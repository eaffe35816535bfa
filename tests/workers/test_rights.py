"""The rights that `docs/operations.md` gives to users of Redis: enough for all that they do."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from broadcaster import EmbeddedRedis, EventSource, connect_sync
from tests.channels import demo_variable
from tests.command_line import finished, ready, starting
from tests.wait import PATIENCE_S, http_client
from tests.workers.conftest import StartWorker

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
RIGHTS = re.compile(r"^ACL (SETUSER .*\n(?: +.*\n)+)", re.MULTILINE)
WORKERS = ("orders", "inventory", "recommendations")


@pytest.fixture
def server() -> Iterator[EmbeddedRedis]:
    """A server with the users of the page, and without any others."""
    with EmbeddedRedis() as server, connect_sync(server.url) as client:
        lines = [line.split() for line in RIGHTS.findall(PAGE)]
        assert [line[1] for line in lines] == ["node", "worker"]
        for line in lines:
            client.execute_command("ACL", *line)
        yield server


async def comes(url: str, type_: str) -> None:
    """Wait until a stream has an event of this type."""
    async with asyncio.timeout(PATIENCE_S), aclosing(EventSource(url).events()) as events:
        async for event in events:
            if event.type == type_:
                return


async def test_a_node_and_workers_need_no_more(
    server: EmbeddedRedis, start_worker: StartWorker
) -> None:
    of_node, of_worker = (server.url.replace("//", f"//{u}:secret@") for u in ("node", "worker"))
    workers = [start_worker(of_worker, name, "--rate", "50") for name in WORKERS]
    async with starting() as start, http_client() as http:
        env = {"BROADCASTER_REDIS_URL": of_node, "BROADCASTER_CHANNELS": demo_variable()}
        node = await start("serve", "--port", "0", env=env)
        url = await node.url()
        await ready(url)
        await comes(f"{url}/v1/events?channel=orders", "complete")
        await comes(f"{url}/v1/inventory/stream", "stock-change")
        await comes(f"{url}/v1/pets/recommendations/stream?userId=you", "complete")
        nodes = (await http.get(f"{url}/v1/nodes")).json()
        status, found, _ = await finished(await start("check", env=env))
        assert await node.stop() == 0
    ended = [await asyncio.to_thread(worker.stop) for worker in workers]
    said = "".join(["\n".join(node.err), *(worker.said() for worker in workers)])
    assert len(nodes["nodes"]) == 1
    assert "incomplete" not in nodes
    assert status == 0
    assert not [line for line in found if line.startswith("problem")]
    assert ended == [0, 0, 0]
    assert "permission" not in said
