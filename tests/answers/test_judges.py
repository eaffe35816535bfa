"""What stock clients of others make of answers: half of one must never look like the whole."""

from __future__ import annotations

import asyncio
import fcntl
import functools
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.answers.test_facade import WORDS, pod
from tests.clients.package import NODE, npm
from tests.clients.toolchain import CACHE
from tests.wait import PATIENCE_S, until

HERE = Path(__file__).with_name("judge")
WHOLE = "".join(WORDS)
FINE = {"isAbort": False, "isDisconnect": False, "isError": False}


@functools.cache
def judge() -> str:
    """Return the path of the judge, beside the packages that it needs."""
    names = ("package.json", "package-lock.json", ".npmrc", "judge.mjs")
    digest = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in names)).hexdigest()
    target = CACHE / f"judge-{digest[:16]}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "judge.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target / ".installed").exists():
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            for name in names:
                shutil.copy(HERE / name, target)
            try:
                npm(target, "ci", "--ignore-scripts")
            except AssertionError as error:
                pytest.skip(f"npm can't fetch the packages: {str(error)[-300:]}")
            (target / ".installed").touch()
    return str(target / "judge.mjs")


async def judging(port: int, action: str) -> asyncio.subprocess.Process:
    path = await asyncio.to_thread(judge)
    return await asyncio.create_subprocess_exec(
        *(NODE, path, f"http://127.0.0.1:{port}", "7", action), stdout=asyncio.subprocess.PIPE
    )


async def verdict(process: asyncio.subprocess.Process) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S):
        out, _ = await process.communicate()
    found: dict[str, Any] = json.loads(out)
    return found


async def test_an_answer_that_is_whole(redis_url: str) -> None:
    async with pod(redis_url) as made:
        said = await verdict(await judging(made.port, "send"))
        assert (said["text"], said["status"], said["ends"]) == (WHOLE, "ready", [FINE])
        nothing = await verdict(await judging(made.port, "resume"))
        assert (nothing["text"], nothing["status"]) == ("", "ready")


async def test_an_answer_that_another_pod_takes_up(redis_url: str) -> None:
    async with pod(redis_url) as one, pod(redis_url) as other:
        one.model.go.clear()
        sending = await judging(one.port, "send")
        await until(lambda: one.model.said == 2)
        sending.kill()
        await sending.wait()
        resuming = await judging(other.port, "resume")
        await until(lambda: other.answers.hub.state.node.hub.subscribers)
        one.model.go.set()
        said = await verdict(resuming)
    assert (said["text"], said["status"], said["ends"]) == (WHOLE, "ready", [FINE])


async def test_an_answer_that_fails(redis_url: str) -> None:
    async with pod(redis_url) as made:
        made.model.fails = True
        said = await verdict(await judging(made.port, "send"))
    assert (said["status"], said["error"]) == ("error", "ZeroDivisionError")
    assert [end["isError"] for end in said["ends"]] == [True]


async def test_an_answer_that_is_stopped(redis_url: str) -> None:
    async with pod(redis_url) as made:
        made.model.go.clear()
        sending = await judging(made.port, "send")
        await until(lambda: made.model.said == 2)
        assert (await made.http.post("/api/chat/7/stop")).json() == {"stopped": True}
        said = await verdict(sending)
    # `ai` says `isAbort` only of what its own page has aborted.
    assert said["status"] == "ready"
    assert WHOLE.startswith(said["text"])
    assert said["text"] != WHOLE


async def test_half_an_answer_is_no_success(redis_url: str) -> None:
    async with pod(redis_url) as one, pod(redis_url) as other:
        one.model.go.clear()
        await one.http.send(
            one.http.build_request("POST", "/api/chat/7", params={"text": "why?"}), stream=True
        )
        await until(lambda: one.model.said == 2)
        resuming = await judging(other.port, "resume")
        hub = other.answers.hub.state.node.hub
        await until(lambda: hub.subscribers)
        other.answers.hub.state.node.end_responses()
        said = await verdict(resuming)
    assert said["text"] != WHOLE
    assert said["status"] == "error"
    assert [end["isError"] or end["isDisconnect"] for end in said["ends"]] == [True]
