"""The programs of *Producers* that publish over HTTP, in six languages, and the webhook."""

from __future__ import annotations

import asyncio
import hmac
import os
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.docs.terminal import file_of
from tests.nodes import running
from tests.wait import PATIENCE_S
from tests.web.tokens.issuers import SECRET, token

PAGE = "docs/producers.md"
PROGRAMS = {
    "publish.sh": ["sh"],
    "publish.mjs": ["node"],
    "publish_http.py": ["python3"],
    "publish.go": ["go", "run"],
    "Publish.java": ["java"],
    "publish.php": ["php"],
}


async def output(*command: str, **environment: str) -> str:
    """Run a command, and return what it prints."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, env={**os.environ, **environment}
    )
    async with asyncio.timeout(4 * PATIENCE_S):
        text, _ = await process.communicate()
    assert process.returncode == 0, text
    return text.decode().strip()


@pytest.mark.parametrize("name", PROGRAMS)
async def test_a_program_publishes_once_however_often_it_runs(
    name: str, redis_url: str, client: Any, tmp_path: Path
) -> None:
    if shutil.which(PROGRAMS[name][0]) is None:
        pytest.skip(f"no {PROGRAMS[name][0]} on the PATH")
    path = tmp_path / name
    path.write_text(file_of(PAGE, name), "utf-8")
    mine = token(broadcaster={"publish": ["orders:7"]})
    async with running(redis_url, token_secrets=[SECRET]) as hub:
        variables = {"HUB_URL": hub.url, "HUB_TOKEN": mine}
        answers = [await output(*PROGRAMS[name], str(path), **variables) for _ in range(2)]
    ((id_, fields),) = await client.xrange("orders")
    assert answers == [f'{{"ids":["{id_.decode()}"]}}'] * 2
    assert b'{"total": 49.50}' in fields[b"m"]


async def test_a_delivery_of_a_webhook_is_published_once(
    redis_url: str, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("HOOK_SECRET", "secret")
    module: dict[str, Any] = {}
    exec(compile(file_of(PAGE, "webhook.py"), "webhook.py", "exec"), module)
    signature = "sha256=" + hmac.new(b"secret", b'{"n":1}', "sha256").hexdigest()
    good = {"x-signature-256": signature, "x-delivery": "d1"}
    transport = httpx.ASGITransport(module["app"])
    async with (
        module["publisher"],
        httpx.AsyncClient(transport=transport, base_url="http://hook") as sender,
    ):
        for headers, status in (
            (good, 204),
            (good, 204),
            (good | {"x-signature-256": "sha256=é"}, 401),
            (good | {"x-delivery": "d2"}, 204),
        ):
            pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
            answer = await sender.post("/hook", content=b'{"n":1}', headers=pairs)
            assert answer.status_code == status
    assert await client.xlen("orders") == 2
