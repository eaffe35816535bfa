"""The wheel in an environment of its own: what users have after they have installed it.

`WHEEL=dist/….whl` tests that file (`make wheel`); otherwise one is built from this checkout.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx_sse
import pytest

import broadcaster
from tests.command_line import Start, finished, starting
from tests.deploy.stack import ROOT
from tests.wait import TEST_S, http_client

LOCK = ROOT / "requirements-demo.lock"
# Packages come over the network, where pip has not kept them.
pytestmark = pytest.mark.timeout(3 * TEST_S)


def call(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command outside of this environment's import path; returns what it prints."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel under test."""
    if given := os.environ.get("WHEEL"):
        return Path(given).resolve()
    directory = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", directory, ROOT)
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel and its locked dependencies."""
    directory = tmp_path_factory.mktemp("environment")
    call(sys.executable, "-m", "venv", "--without-pip", directory)
    pip = (sys.executable, "-m", "pip", "--python", directory / "bin" / "python", "install")
    call(*pip, "--quiet", "--require-hashes", "--requirement", LOCK)
    call(*pip, "--quiet", "--no-deps", wheel)
    return directory


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of a user, with a package whose name is that of our directory."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    (tmp_path / "workers.py").write_text("raise SystemExit('the package of the user')\n")
    return tmp_path


@pytest.fixture
async def start(environment: Path) -> AsyncIterator[Start]:
    """Starts the installed `broadcaster`; all that was started ends with the test."""
    async with starting(str(environment / "bin" / "broadcaster")) as start:
        yield start


def test_it_installs_two_packages(wheel: Path) -> None:
    names = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    about = f"broadcaster_hub-{broadcaster.__version__}.dist-info"
    assert names == {"broadcaster", "broadcaster_petstore", about}


def test_nothing_is_imported_from_the_checkout(environment: Path, elsewhere: Path) -> None:
    code = (
        "import json, sys, broadcaster, broadcaster.app, broadcaster_petstore.__main__;"
        "files = [getattr(module, '__file__', None) for module in sys.modules.values()];"
        "print(json.dumps([broadcaster.__version__, *filter(None, [*files, *sys.path])]))"
    )
    version, *paths = json.loads(call(environment / "bin/python", "-P", "-c", code, cwd=elsewhere))
    assert version == broadcaster.__version__
    assert [path for path in paths if Path(path).is_relative_to(ROOT)] == []


async def test_the_demo_runs(start: Start, elsewhere: Path) -> None:
    demo = await start("demo", "--port", "0", cwd=elsewhere)
    url = (await demo.line("The page")).split()[-1].rstrip("/")
    redis_url = (await demo.line("An event of your own")).split()[-1]
    async with http_client(base_url=url) as client:
        page = await client.get("/")
        assert page.headers["content-type"].startswith("text/html")
        assert "page/page.js" in page.text
        assert (await client.get("/page/page.js")).status_code == 200

        async with httpx_sse.aconnect_sse(client, "GET", "/v1/inventory/stream") as source:
            events = source.aiter_sse()
            assert [event.event async for event in take(events, "stock-change")]  # a worker's
            own = ("--type", "own", "--data", "hello", "--redis-url", redis_url)
            publish = await start("publish", "inventory", *own, cwd=elsewhere)
            status, (entry_id,), _ = await finished(publish)
            assert status == 0
            last = [event async for event in take(events, "own")][-1]
            assert (last.id, last.data) == (entry_id, "hello")

        # The other two workers: an order has a first event, a request an answer.
        order = (await demo.line("One order")).split()[-1]
        made = f"{url}/v1/pets/recommendations/stream?userId=you"
        for address, event in ((order, ""), (made, "complete")):
            async with httpx_sse.aconnect_sse(client, "GET", address) as source:
                assert [one.event async for one in take(source.aiter_sse(), event)]
    assert await demo.stop() == 0
    assert "Traceback" not in "".join(demo.err)


async def take(
    events: AsyncIterator[httpx_sse.ServerSentEvent], last: str
) -> AsyncIterator[httpx_sse.ServerSentEvent]:
    """The events up to the first of a type; with an empty type, up to a producer's first."""
    async for event in events:
        yield event
        if event.event == last or (not last and not event.event.startswith("stream.")):
            return
    raise AssertionError("the stream ended")
