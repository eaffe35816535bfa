"""The worker in Node that `docs/runs-protocol.md` explains answers runs, and goes on with them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from broadcaster import Publisher, RunQueue
from broadcaster.backend.runs import scripts
from broadcaster.backend.runs.records import Records
from broadcaster.core.catalogue import Catalogue
from tests.channels import named
from tests.clients.package import NODE, installed
from tests.nodes import Raw, Running, running, told
from tests.wait import PATIENCE_S, http_client, until

EXAMPLE = Path(__file__).parents[2] / "examples" / "node-worker"
PROTOCOL = Path(__file__).parents[2] / "docs" / "runs-protocol.md"
REQUESTS = "answers.requests"
CHANNELS = Catalogue(named("answers", requests=REQUESTS, terminal=frozenset({"complete"})))
PATH = "/v1/answers/stream"


class Worker(NamedTuple):
    """The example, in a process of its own."""

    process: subprocess.Popen[bytes]
    log: Path

    def has_said(self, text: str) -> bool:
        return text in self.log.read_text()


@contextmanager
def working(tmp_path: Path, redis_url: str, pace_ms: int = 1) -> Iterator[Worker]:
    """Run the example beside its packages, until the block is left.

    Args:
        tmp_path: for its sources, and what it says.
        redis_url: where Redis is.
        pace_ms: milliseconds after each word of its model.
    """
    place = tmp_path / "node-worker"
    place.mkdir()
    (place / "node_modules").symlink_to(installed(EXAMPLE, "node-worker") / "node_modules")
    for path in (*EXAMPLE.glob("*.lua"), *EXAMPLE.glob("*.mjs"), EXAMPLE / "package.json"):
        text = path.read_text()
        (place / path.name).write_text(text.replace("PACE_MS = 50", f"PACE_MS = {pace_ms}"))
    env = {**os.environ, "REDIS_URL": redis_url}
    with (place / "log").open("wb") as log:
        process = subprocess.Popen([NODE, "worker.mjs"], cwd=place, env=env, stderr=log)
    try:
        yield Worker(process, place / "log")
    finally:
        process.kill()
        process.wait()


class Stage(NamedTuple):
    """A hub, a client of it, and a publisher for workers in Python."""

    hub: Running
    http: httpx.AsyncClient
    publisher: Publisher

    async def asked(self, **body: str) -> tuple[str, str]:
        """Begin a run by a POST. Return its id and its path."""
        made = (await self.http.post(PATH, json={"key": "ann", **body})).json()
        return made["run"], made["url"]

    async def state(self, run: str) -> tuple[str, int]:
        """Return the state of a run, and its attempt."""
        found = (await self.http.get(f"/v1/runs/{run}")).json()
        return found["state"], found["attempt"]


@pytest.fixture
async def stage(redis_url: str) -> AsyncIterator[Stage]:
    async with (
        running(redis_url, channels=CHANNELS) as hub,
        http_client(base_url=hub.url) as http,
        Publisher(redis_url, channels=CHANNELS) as publisher,
    ):
        yield Stage(hub, http, publisher)


async def test_it_answers_what_a_post_and_a_get_begin(
    stage: Stage, redis_url: str, tmp_path: Path
) -> None:
    redis: Any = stage.publisher.redis
    await redis.xadd(REQUESTS, {"key": "late", "ttl_ms": "1"}, id="5-0")
    with working(tmp_path, redis_url):
        run, url = await stage.asked(question="why?")
        stream = await Raw.get(stage.hub.port, url)
        *words, end = told(await stream.rest())
        assert "".join(words) == 'you asked {"key":"ann","question":"why?"} about ann'
        assert end == "{}"
        assert await stage.state(run) == ("complete", 1)
        stream = await Raw.get(stage.hub.port, f"{PATH}?key=ann")
        *words, _ = told(await stream.rest())
        assert "".join(words) == "you asked about ann"
        newest = await Records(redis, "answers", None).newest("ann")
        assert b"run=%b" % str(newest).encode() in stream.body  # a client finds it by its key
        await until(partial(_is_empty, redis))
    assert not await redis.exists("{answers}:run:5-0")


async def _is_empty(redis: Any) -> bool:
    return not await redis.xlen(REQUESTS)


async def test_it_goes_on_where_a_worker_in_python_has_stopped_and_back(
    stage: Stage, redis_url: str, tmp_path: Path
) -> None:
    run, url = await stage.asked()
    queue = RunQueue(stage.publisher, "answers")
    (taken,) = await until(partial(queue.take, 1))
    await taken.publish(type="text", data="you ")
    await queue.aclose()  # it gives the run back
    stream = await Raw.get(stage.hub.port, url)
    with working(tmp_path, redis_url, pace_ms=3_600_000) as worker:
        await stream.until(b"asked ")
        worker.process.send_signal(signal.SIGTERM)  # it gives the run back, too
        assert await asyncio.to_thread(worker.process.wait, PATIENCE_S) == 0
    (again,) = await until(partial(RunQueue(stage.publisher, "answers").take, 1))
    assert (again.id, again.text, again.attempt) == (run, "you asked ", 3)


async def test_it_ends_its_work_on_a_run_that_is_stopped(
    stage: Stage, redis_url: str, tmp_path: Path
) -> None:
    run, url = await stage.asked()
    with working(tmp_path, redis_url, pace_ms=3_600_000) as worker:
        stream = await Raw.get(stage.hub.port, url)
        await stream.until(b"you ")
        assert (await stage.http.post(f"/v1/runs/{run}/stop")).json()["state"] == "stopped"
        await until(lambda: worker.has_said(f"run {run}: it is stopped"))


async def test_while_redis_is_full_it_tries_again(
    stage: Stage, redis_url: str, tmp_path: Path
) -> None:
    redis: Any = stage.publisher.redis
    with working(tmp_path, redis_url, pace_ms=1_000) as worker:
        run, url = await stage.asked()
        stream = await Raw.get(stage.hub.port, url)
        await stream.until(b"you ")
        try:
            await redis.config_set("maxmemory", 1)
            await until(lambda: worker.has_said("again soon: OOM"))
        finally:
            await redis.config_set("maxmemory", 0)
        words = told(await stream.rest())
        assert "".join(words) == 'you asked {"key":"ann"} about ann{}'
        assert await stage.state(run) == ("complete", 1)


@pytest.mark.parametrize("name", ["begin", "write", "end", "keep"])
def test_its_scripts_are_those_of_the_workers_in_python(name: str) -> None:
    script: str = getattr(scripts, name.upper())
    assert (EXAMPLE / f"{name}.lua").read_text() == script.lstrip("\n")


def test_the_document_names_every_argument() -> None:
    text = PROTOCOL.read_text()
    for name in ("begin", "write", "end", "keep"):
        assert f"| `{name}.lua` |" in text
