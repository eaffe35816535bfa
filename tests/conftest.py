"""The fixtures that all tests share: a real Valkey that is emptied for each test.

`tiers` says which of the kinds of tests a test is. Those that are not `alone` may run in parallel,
since each process of pytest-xdist has its own Valkey. A `quick` test fails if it starts a process
or listens at a port.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import os
import signal
import socket
import subprocess
import unittest
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis.utils
from hypothesis import Phase
from hypothesis import settings as hypothesis_settings

from broadcaster import EmbeddedRedis, Publisher, connect
from tests import forks, tiers
from tests.wait import PATIENCE_S, STEPS_S, TEST_S

# The same examples in each run: none of them depends on how fast this machine is just now, or on
# what an earlier run found. `--hypothesis-profile=search` looks for new ones, at leisure, and
# `brief` is for `make quick`. `mutants` is for `make mutants-core`, which asks the same many times,
# and does not ask for the smallest example of a failure.
_SAME = hypothesis_settings(hypothesis_settings.get_profile("ci"), print_blob=True)
hypothesis_settings.register_profile("same", _SAME)
hypothesis_settings.register_profile("search", _SAME, derandomize=False, max_examples=2000)
_BRIEF = hypothesis_settings(_SAME, max_examples=20)
hypothesis_settings.register_profile("brief", _BRIEF)
_UNSHRUNK = (Phase.explicit, Phase.generate)
hypothesis_settings.register_profile("mutants", _BRIEF, phases=_UNSHRUNK)
hypothesis_settings.load_profile("same")

# All modules and tests stay until the end, so the garbage collector need not look at them.
gc.disable()

_STDERR = pytest.StashKey[int]()

# redis-py reads its own version from a file for each connection, which costs more than connecting.
vars(redis.utils)["get_lib_version"] = cache(redis.utils.get_lib_version)

# httpx reads all authorities for each client, though few tests speak TLS.
vars(httpx._transports.default)["create_ssl_context"] = cache(httpx.create_ssl_context)

# Where a shell has started us in the background, SIGINT is ignored, and by our children too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# `nohup` does the same with SIGHUP.
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import what has no tests of the kind that is asked for."""
    return None if tiers.may_have(config.option.markexpr, collection_path) else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their kind, and give each the time that a busy machine may need."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        marks = {mark.name for mark in item.iter_markers()}
        if kind := tiers.kind_of(item.path, item.name, fixtures, marks):
            item.add_marker(kind)
        if "timeout" not in marks:
            item.add_marker(pytest.mark.timeout(STEPS_S if _is_state_machine(item) else TEST_S))
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: tiers.turn(item.path))


def _is_state_machine(item: pytest.Item) -> bool:
    """Return True for the tests of Hypothesis's state machines, which alone are of `unittest`."""
    parent = item.getparent(pytest.Class)
    return parent is not None and issubclass(parent.obj, unittest.TestCase)


def pytest_collection_finish() -> None:
    """Leave what is there by now out of all collections, which many tests ask for."""
    gc.freeze()
    gc.enable()


def pytest_configure(config: pytest.Config) -> None:
    """Keep the standard error, where it is seen although pytest captures what tests write."""
    config.stash[_STDERR] = os.dup(2)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """End this process if the end of a test hangs.

    It shows where that is, and pytest-xdist names the test and goes on with another process.
    pytest-timeout does not limit what comes after a failure, nor what hangs outside of Python.
    """
    faulthandler.dump_traceback_later(TEST_S, exit=True, file=item.config.stash[_STDERR])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadscope`, one process runs all tests in a browser, and starts it once."""
    if config.getvalue("dist") != "loadscope":
        return None
    from xdist.scheduler.loadscope import LoadScopeScheduling

    scheduler: Any = LoadScopeScheduling(config, log)
    scheduler._split_scope = tiers.process
    return scheduler


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Where a part of the tests is asked for, by `-m`, it may be that there are none of them."""
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and session.config.option.markexpr:
        session.exitstatus = pytest.ExitCode.OK


@pytest.fixture(autouse=True)
def _no_server_in_a_quick_test(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if request.node.get_closest_marker("quick"):
        for where, name in _BEGINNINGS:
            monkeypatch.setattr(where, name, _refused)


# What starts a process, and what listens.
_BEGINNINGS = (
    (subprocess, "Popen"),
    (forks, "begin"),
    (socket, "create_server"),
    (asyncio, "start_server"),
)


def _refused(*_: Any, **__: Any) -> Any:
    raise AssertionError("a quick test starts a process or listens: mark it, pytest.mark.server")


@pytest.fixture(scope="session")
def redis_server() -> Iterator[EmbeddedRedis]:
    """One server for the session. A test that stops or slows its server starts its own."""
    with EmbeddedRedis() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: EmbeddedRedis) -> str:
    """The url of an empty server."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Any]:
    """A client of the empty server; Any, as redis-py's reply types name every shape there is."""
    made: Any = connect(redis_url, timeout_s=PATIENCE_S)
    yield made
    await made.aclose()


@pytest.fixture(scope="session")
def browsers_started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Returns the address of a browser that the tests of this process share, and remembers it."""
    from tests.clients import browsers  # not at the top: most tests need no browser

    with ExitStack() as running:

        @cache
        def address(name: str) -> str:
            return running.enter_context(browsers.started(name, tmp_path_factory.mktemp(name)))

        yield address


@pytest.fixture(params=["chromium", "firefox", "webkit"])
async def browser(request: pytest.FixtureRequest, browsers_started: Any) -> AsyncIterator[Any]:
    """A `tests.clients.browsers.Browser`, of each kind in turn; skipped where it is missing."""
    from tests.clients import browsers

    if lack := browsers.missing(request.param):
        pytest.skip(lack)
    try:
        async with browsers.connected(request.param, browsers_started(request.param)) as used:
            yield used
    except Exception:
        browsers_started.cache_clear()  # the next test starts another one
        raise


@pytest.fixture
async def blank(browser: Any) -> AsyncIterator[Any]:
    """A tab of each browser in turn, with an empty page of an origin of its own."""
    from tests.clients.browsers import blank as pages

    async with pages.blank_page() as address:
        tab = await browser.tab()
        await tab.open(address)
        yield tab


@pytest.fixture
async def publisher(redis_url: str) -> AsyncIterator[Publisher]:
    """A publisher to the empty server."""
    async with Publisher(redis_url) as made:
        yield made
