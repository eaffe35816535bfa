"""The hub inside of other people's applications, and under other servers."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broadcaster.app import create_app
from broadcaster.core.counters import Meters
from broadcaster.settings import Settings, load_settings
from broadcaster.web.uvicorn.server import make_server
from tests.nodes import Raw
from tests.wait import PATIENCE_S, http_client, until

LIVE = b"stream.live"


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[int]:
    """Serve an application that is not ours, which has a drain of its own."""

    async def nothing() -> None:
        return

    server = make_server(app, nothing, Settings(port=0), Meters())
    task = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        while Raw.made:
            Raw.made.pop().close()
        server.should_exit = True
        await task


@pytest.mark.parametrize("framework", [FastAPI, Starlette])
@pytest.mark.parametrize("with_lifespan", [True, False])
async def test_mounted_under_a_prefix(
    redis_url: str, framework: type[Starlette], with_lifespan: bool
) -> None:
    hub = create_app(load_settings(redis_url=redis_url))
    app = framework(lifespan=hub.router.lifespan_context if with_lifespan else None)
    app.router.routes.append(Mount("/live", hub))
    async with served(app) as port:
        url = f"http://127.0.0.1:{port}/live"
        async with http_client() as browser:
            stream = await Raw.get(port, "/live/v1/orders/7/status/stream")
            await stream.until(LIVE)
            await until(lambda: not hub.state.node.problems())
            assert (await browser.get(f"{url}/readyz")).status_code == 200
            assert (await browser.get(f"{url}/")).status_code == 200
            assert (await browser.get(f"{url}/v1/channels/orders")).json()["length"] == 0
            # An application between the hub and the server may want to see each message.
            assert hub.state.node.meters.opened["asgi"] == 1
        stream.close()
    await hub.state.node.aclose()  # without a lifespan, only the test closes it


async def test_a_middleware_sees_the_whole_response(redis_url: str) -> None:
    hub = create_app(load_settings(redis_url=redis_url))

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-seen", b"yes")]
            await send(message)

        await hub(scope, receive, named)

    async with served(middleware) as port:
        stream = await Raw.get(port, "/v1/inventory/stream")
        await stream.until(LIVE)
        assert b"x-seen: yes" in stream.head
    await hub.state.node.aclose()


class Naming:
    """A middleware that names itself in each answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-seen", b"yes")]
            await send(message)

        await self.app(scope, receive, named)


async def test_a_middleware_that_is_added_sees_all_but_event_streams(redis_url: str) -> None:
    hub = create_app(load_settings(redis_url=redis_url))
    hub.add_middleware(Naming)
    async with served(hub) as port:
        async with http_client(base_url=f"http://127.0.0.1:{port}") as browser:
            channels = await browser.get("/v1/channels")
            posted = await browser.post("/v1/channels/inventory/events", json={"data": 1})
        stream = await Raw.get(port, "/v1/inventory/stream")
    assert (posted.status_code, posted.headers.get("x-seen")) == (403, "yes")
    assert channels.headers["x-seen"] == "yes"
    assert b"x-seen" not in stream.head
    await hub.state.node.aclose()


@pytest.mark.parametrize("path", ["/metrics", "/v1/nodes", "/v1/channels", "/readyz"])
async def test_the_first_request_to_a_mounted_hub_is_answered_whatever_its_route(
    redis_url: str, path: str
) -> None:
    hub = create_app(load_settings(redis_url=redis_url))
    try:
        async with served(Starlette(routes=[Mount("/live", hub)])) as port:
            async with http_client() as browser:
                answer = await browser.get(f"http://127.0.0.1:{port}/live{path}")
            assert answer.status_code in (200, 503)
            assert '"incomplete"' not in answer.text
        await until(lambda: not hub.state.node.health.reasons())  # it was started
    finally:
        await hub.state.node.aclose()


async def test_a_hub_that_was_shut_down_says_so_when_it_is_started_again(redis_url: str) -> None:
    hub = create_app(load_settings(redis_url=redis_url))
    async with hub.router.lifespan_context(hub):
        pass
    with pytest.raises(RuntimeError, match="create_app"):
        async with hub.router.lifespan_context(hub):
            pass


SERVERS = {
    "uvicorn": ("uvicorn", "--port", "0", "--log-level", "info"),
    "uvicorn-h11": ("uvicorn", "--port", "0", "--http", "h11"),
    "hypercorn": ("hypercorn", "--bind", "127.0.0.1:0", "--graceful-timeout", "1"),
}


@asynccontextmanager
async def serving(
    server: str, redis_url: str, directory: Path
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """Serve the hub with a server that is not ours: its process and its port."""
    module, *arguments = SERVERS[server]
    (directory / "mine.py").write_text("from broadcaster import create_app\napp = create_app()\n")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, "mine:app",
        cwd=str(directory), start_new_session=True, stdout=PIPE, stderr=asyncio.subprocess.STDOUT,
        env=os.environ | {"BROADCASTER_REDIS_URL": redis_url, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        yield process, await listening_port(process)
    finally:
        while Raw.made:
            Raw.made.pop().close()
        with suppress(ProcessLookupError):  # hypercorn has children of its own
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


@pytest.mark.parametrize("server", SERVERS)
async def test_plain_servers(server: str, redis_url: str, tmp_path: Path) -> None:
    async with serving(server, redis_url, tmp_path) as (process, port):
        stream = await Raw.get(port, "/v1/orders/7/status/stream")
        await stream.until(LIVE)
        async with http_client() as browser:

            async def is_ready() -> bool:
                return (await browser.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200

            await until(is_ready)  # one channel of several is live
        if server.startswith("uvicorn"):  # an open stream does not keep it from exiting
            process.send_signal(signal.SIGTERM)
            await stream.rest()
            assert stream.body.count(b"retry: ") == 2
            async with asyncio.timeout(PATIENCE_S):
                await process.wait()


async def listening_port(process: asyncio.subprocess.Process) -> int:
    assert process.stdout is not None
    output = []
    async with asyncio.timeout(PATIENCE_S):
        async for line in process.stdout:
            text = line.decode()
            output.append(text)
            if "http://127.0.0.1:" in text:
                return int(text.split("http://127.0.0.1:")[1].split()[0].rstrip("/"))
    raise AssertionError(f"it never listened: {''.join(output)}")
