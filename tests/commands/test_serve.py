"""SIGHUP ends a command that serves, as SIGTERM does, unless it is ignored."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import sys
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.command_line import (
    SCRIPT,
    Running,
    Start,
    alive,
    children,
    drained_by_a_hangup,
    finished,
    ready,
)
from tests.tls import OPENSSL, Authority
from tests.wait import PATIENCE_S, http_client, until

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(sys.platform == "win32", reason="has no SIGHUP"),
]


async def test_a_hangup_drains_a_node(start: Start, redis_url: str) -> None:
    node = await start("serve", "--port", "0", "--redis-url", redis_url)
    url = await node.url()
    await ready(url)
    await drained_by_a_hangup(node, url)
    assert "Traceback" not in "".join(node.err)


async def test_a_hangup_that_is_ignored_stays_ignored(redis_url: str) -> None:
    """As `nohup` starts it."""
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", 'trap "" HUP; exec "$0" "$@"',
        SCRIPT, "serve", "--port", "0", "--redis-url", redis_url,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    node = Running(process)
    try:
        url = await node.url()
        await ready(url)
        process.send_signal(signal.SIGHUP)
        for _ in range(10):  # the server looks ten times a second whether it was asked to stop
            async with http_client() as http:
                assert (await http.get(f"{url}/readyz")).status_code == 200
            await asyncio.sleep(0.05)
        assert await node.stop() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await node.ended()


async def test_a_hangup_ends_a_demo_that_leaves_nothing_behind(
    start: Start, tmp_path: Path
) -> None:
    demo = await start("demo", "--port", "0", env={"TMPDIR": str(tmp_path)})
    await demo.line("The page")
    assert os.listdir(tmp_path)
    group = children(demo.process.pid)
    assert len(group) == 5  # Valkey and four workers
    assert await demo.stop(signal.SIGHUP) == 0
    assert not os.listdir(tmp_path)
    assert not alive(group)
    assert "Traceback" not in "".join(demo.err)


async def test_serve_ends_streams_and_exits_with_0_on_sigterm(start: Start, redis_url: str) -> None:
    node = await start("serve", "--port", "0", "--redis-url", redis_url)
    url = await node.url()
    async with http_client(base_url=url) as client:
        await ready(url)
        async with client.stream("GET", "/v1/inventory/stream") as response:
            pieces = response.aiter_text()
            assert "retry:" in await anext(pieces)
            node.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(PATIENCE_S):
                rest = "".join([piece async for piece in pieces])
    assert "retry:" in rest  # the farewell; and a response cut off would have raised
    assert await node.ended() == 0
    assert "Ctrl-C" in node.out[0]
    assert "Traceback" not in "".join(node.err)


async def test_ctrl_c_is_a_clean_stop_too(start: Start, redis_url: str) -> None:
    node = await start("serve", "--port", "0", "--redis-url", redis_url)
    await ready(await node.url())
    assert await node.stop(signal.SIGINT) == 0
    assert node.err == []


@pytest.mark.skipif(not OPENSSL, reason="there is no openssl")
async def test_all_processes_speak_tls_and_a_bad_certificate_ends_them_at_the_start(
    start: Start, redis_url: str, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "tls", "a")
    pem = str(authority.directory / "server.pem")
    trust = ssl.create_default_context(cafile=str(authority.directory / "ca.pem"))
    command = ("serve", "--port", "0", "--redis-url", redis_url, "--workers", "2")
    node = await start(*command, env={"BROADCASTER_TLS_CERTIFICATE": pem})
    url = await node.url()
    assert url.startswith("https://127.0.0.1:")
    async with http_client(verify=trust) as http:

        async def both_answer() -> bool:
            with suppress(httpx.TransportError):
                text = (await http.get(f"{url}/metrics")).text
                return 'process="0"' in text and 'process="1"' in text
            return False

        await until(both_answer)
    assert await node.stop() == 0
    for path in (pem + "x", str(authority.directory / "server.crt")):
        status, out, said = await finished(
            await start(*command, env={"BROADCASTER_TLS_CERTIFICATE": path})
        )
        assert (status, out, "tls_certificate: " in said) == (2, [], True)
        assert "Traceback" not in said


async def test_a_port_in_use_is_reported_at_once(start: Start) -> None:
    taken = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    async with taken:
        port = str(taken.sockets[0].getsockname()[1])
        nowhere = ("--port", port, "--redis-url", "redis://127.0.0.1:1")
        for command in (("serve", *nowhere), ("serve", *nowhere, "--workers", "2"), nowhere[:2]):
            command = command if command[0] == "serve" else ("demo", *command)
            status, out, said = await finished(await start(*command))
            assert (status, f"port {port}" in said, out) == (2, True, [])


async def test_serve_warns_if_other_machines_can_read_public_channels(
    start: Start, redis_url: str
) -> None:
    channels = '{"news": {"path": "/news"}, "orders": {"path": "/orders/{key}"}}'
    arguments = ("serve", "--port", "0", "--host", "0.0.0.0", "--redis-url", redis_url)
    node = await start(*arguments, env={"BROADCASTER_CHANNELS": channels})
    await ready(await node.url())
    assert await node.stop() == 0
    (line,) = [line for line in node.err if "WARNING" in line.upper()]
    assert "every machine that reaches 0.0.0.0 can read news, orders" in line


async def test_a_channel_that_needs_a_token_needs_a_key_of_tokens(
    start: Start, redis_url: str
) -> None:
    channels = '{"orders": {"path": "/orders", "access": "token"}}'
    arguments = ("serve", "--port", "0", "--redis-url", redis_url)
    node = await start(*arguments, env={"BROADCASTER_CHANNELS": channels})
    status, _, said = await finished(node)
    assert status != 0
    assert "channel 'orders' has access = \"token\"" in said
    assert "set token_secrets or token_keys" in said
    assert "Traceback" not in said
