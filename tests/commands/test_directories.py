"""Commands in unusual directories: each works, or says in one line why it can't."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broadcaster import EmbeddedRedis, connect
from broadcaster.backend.embedded import free_port
from tests.command_line import SCRIPT, Running, Start, finished, ready, starting

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(sys.platform != "linux", reason="other systems have other limits"),
]

NO_DIRECTORY = """
import tempfile
tempfile._candidate_tempdir_list = lambda: ["/proc/none"]
"""


def long(directory: Path) -> dict[str, str]:
    """Too long for the address of a Unix socket."""
    made = directory / ("x" * 100) / ("y" * 100)
    made.mkdir(parents=True)
    return {"TMPDIR": str(made)}


def odd(directory: Path) -> dict[str, str]:
    """With a space, a quote, and letters that are not ASCII."""
    made = directory / "a b" / "zw\u00f6lf 'x' \"y\" $HOME"
    made.mkdir(parents=True)
    return {"TMPDIR": str(made)}


def relative(directory: Path) -> dict[str, str]:
    return {"TMPDIR": os.path.relpath(directory)}


def missing(directory: Path) -> dict[str, str]:
    return {"TMPDIR": str(directory / "none"), "HOME": str(directory / "none")}


def read_only(_: Path) -> dict[str, str]:
    """No user can write there, not even root."""
    return {"TMPDIR": "/proc", "HOME": "/proc"}


WORKING: dict[str, Callable[[Path], dict[str, str]]] = {
    "long": long,
    "odd": odd,
    "relative": relative,
    "missing": missing,
    "read-only": read_only,
}


async def serves(running: Running) -> None:
    url = await running.url()
    await ready(url)
    assert await running.stop() == 0
    assert "Traceback" not in "".join(running.err)


@pytest.mark.parametrize("kind", WORKING)
async def test_several_processes_serve_in_it(
    start: Start, redis_url: str, tmp_path: Path, kind: str
) -> None:
    env = {"BROADCASTER_REDIS_URL": redis_url, **WORKING[kind](tmp_path)}
    await serves(await start("serve", "--port", "0", "--workers", "2", env=env))


@pytest.mark.parametrize("kind", WORKING)
async def test_the_demo_runs_in_it(start: Start, tmp_path: Path, kind: str) -> None:
    port = free_port()
    demo = await start("demo", "--port", str(port), env=WORKING[kind](tmp_path))
    await ready(f"http://127.0.0.1:{port}")
    await demo.line("The page")
    assert await demo.stop() == 0
    assert "Traceback" not in "".join(demo.err)


@pytest.fixture
async def lost(tmp_path: Path) -> Any:
    """Starts commands in a working directory that is removed at once."""
    gone = tmp_path / "gone"
    script = f'mkdir {gone}; cd {gone}; rmdir {gone}; exec {SCRIPT} "$@"'
    async with starting("bash", "-c", script, "bash") as start:
        yield start


async def test_the_working_directory_may_be_gone(lost: Start, redis_url: str) -> None:
    env = {"BROADCASTER_REDIS_URL": redis_url}
    for command in (("check",), ("publish", "inventory", "--data", "1")):
        status, _, err = await finished(await lost(*command, env=env))
        assert (status, err) == (0, "")
    for more in ((), ("--workers", "2")):
        await serves(await lost("serve", "--port", "0", *more, env=env))
    demo = await lost("demo", "--port", str(free_port()))
    await demo.line("The page")
    assert await demo.stop() == 0


async def test_the_demo_without_any_directory_says_so_in_one_line(
    start: Start, redis_url: str, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_DIRECTORY)
    env = {"PYTHONPATH": str(tmp_path), "BROADCASTER_REDIS_URL": redis_url}
    status, _, err = await finished(await start("demo", "--port", "0", env=env))
    assert status == 1
    assert "needs a directory for its files" in err
    assert "TMPDIR" in err
    assert err.count("\n") == 0
    await serves(await start("serve", "--port", "0", "--workers", "2", env=env))


async def test_the_demo_on_a_full_disk_says_so_in_one_line() -> None:
    # Without the measurement of coverage, which can't write its data either, and says so.
    full = f'unset COVERAGE_PROCESS_CONFIG; trap "" XFSZ; ulimit -f 0; exec {SCRIPT} "$@"'
    async with starting("bash", "-c", full, "bash") as start:
        status, _, err = await finished(await start("demo", "--port", "0"))
    assert status == 1
    assert "directory" in err
    assert err.count("\n") == 0


async def test_a_unix_socket_may_have_an_odd_path_but_no_long_one(
    start: Start, tmp_path: Path
) -> None:
    directory = Path("/tmp") / f"zw\u00f6lf {os.getpid()}"
    directory.mkdir()
    try:
        with EmbeddedRedis("--unixsocket", str(directory / "r.sock")):
            client: Any = connect(f"unix://{directory}/r.sock".replace(" ", "%20"))
            assert await client.ping()
            await client.aclose()
    finally:
        shutil.rmtree(directory)
    url = f"unix:///{'x' * 110}/redis.sock"
    for command in ("check", "serve"):
        status, _, err = await finished(await start(command, "--redis-url", url))
        assert status == 2
        assert "at most 107 bytes" in err
        assert "Traceback" not in err


async def test_a_configuration_file_may_have_an_odd_path(
    start: Start, redis_url: str, tmp_path: Path
) -> None:
    config = Path(odd(tmp_path)["TMPDIR"]) / "hub ü.toml"
    config.write_text(f'redis_url = "{redis_url}"')
    await serves(await start("serve", "--port", "0", "--config", str(config), "--workers", "2"))
    status, _, err = await finished(await start("serve", "--config", str(config.parent)))
    assert status == 2
    assert "no configuration file" in err
