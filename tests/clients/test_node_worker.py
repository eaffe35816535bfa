"""The worker in Node that `docs/runs-protocol.md` explains answers runs, and goes on with them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broadcaster import Publisher, RunQueue
from broadcaster.backend import run_scripts
from broadcaster.core.catalogue import Catalogue
from tests.channels import named
from tests.clients.package import NODE, installed
from tests.nodes import Raw, running, told
from tests.wait import http_client

EXAMPLE = Path(__file__).parents[2] / "examples" / "node-worker"
PROTOCOL = Path(__file__).parents[2] / "docs" / "runs-protocol.md"
CHANNELS = Catalogue(
    named("answers", requests="answers.requests", terminal=frozenset({"complete"}))
)
PATH = "/v1/answers/stream"


@contextmanager
def working(redis_url: str) -> Iterator[None]:
    """Run the example beside its packages, until the block is left."""
    place = installed(EXAMPLE, "node-worker")
    for path in (*EXAMPLE.glob("*.lua"), EXAMPLE / "worker.mjs"):
        (place / path.name).write_bytes(path.read_bytes())
    env = {**os.environ, "REDIS_URL": redis_url}
    worker = subprocess.Popen([NODE, "worker.mjs"], cwd=place, env=env)
    try:
        yield
    finally:
        worker.kill()
        worker.wait()


async def test_it_answers_what_a_post_and_a_get_begin(redis_url: str) -> None:
    async with (
        running(redis_url, channels=CHANNELS) as hub,
        http_client(base_url=hub.url) as http,
    ):
        with working(redis_url):
            made = (await http.post(PATH, json={"key": "ann"})).json()
            for path in (made["url"], f"{PATH}?key=ann"):
                stream = await Raw.get(hub.port, path)
                assert told(await stream.rest()) == ["you ", "asked ", "about ", "ann", "{}"]
            state = (await http.get(f"/v1/runs/{made['run']}")).json()
            assert (state["state"], state["attempt"]) == ("complete", 1)


async def test_it_goes_on_where_a_worker_in_python_has_stopped(redis_url: str) -> None:
    async with (
        running(redis_url, channels=CHANNELS) as hub,
        http_client(base_url=hub.url) as http,
        Publisher(redis_url, channels=CHANNELS) as publisher,
    ):
        made = (await http.post(PATH, json={"key": "ann"})).json()
        queue = RunQueue(publisher, "answers")
        (run,) = await queue.take(1, wait_s=1.0)
        await run.publish(type="text", data="I ")
        await queue.aclose()  # it gives the run back
        with working(redis_url):
            stream = await Raw.get(hub.port, made["url"])
            assert told(await stream.rest()) == ["I ", "asked ", "about ", "ann", "{}"]


@pytest.mark.parametrize("name", ["begin", "write", "end", "keep"])
def test_its_scripts_are_those_of_the_workers_in_python(name: str) -> None:
    script: str = getattr(run_scripts, name.upper())
    assert (EXAMPLE / f"{name}.lua").read_text() == script.lstrip("\n")


def test_the_document_names_every_argument() -> None:
    text = PROTOCOL.read_text()
    for name in ("begin", "write", "end", "keep"):
        assert f"| `{name}.lua` |" in text
