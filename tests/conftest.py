"""The fixtures that all tests share: a real Valkey that is emptied for each test.

There are four kinds of tests. The folder and the fixtures of a test decide which kind it is.

* `quick` tests start no process. `make quick` runs them. One that starts a process fails.
* `foreign` tests install clients that we did not write, in five languages: see `make clients`.
* `alone` tests measure something, or need more of the machine than a test beside others gets.
* All others may run in parallel, since each process of pytest-xdist has its own Valkey.
"""

from __future__ import annotations

import gc
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import redis.utils
from hypothesis import settings as hypothesis_settings

from broadcaster import EmbeddedRedis, Publisher, connect
from tests.wait import TEST_S

_TESTS = Path(__file__).parent
_QUICK = ("backend", "client", "commands", "core", "node", "settings", "web", "workers",
          "test_app.py", "test_interleavings.py", "test_mirror.py", "test_settings.py",
          "test_tenants.py")  # fmt: skip
_ALONE = ("bench", "chaos/test_scenarios.py", "deploy/test_compose.py")
_PLACES = {"quick": _QUICK, "alone": _ALONE}
_LONG = ("test_interleavings.py", "test_state_interleavings.py", "test_late_answers.py",
         "test_tenants.py", "e2e/test_rolling_update.py", "commands/test_supervisor.py",
         "e2e", "deploy/test_proxies.py", "deploy/test_wheel.py", "clients", "examples", "mutants",
         "docs/test_commands.py", "deploy", "commands", "workers")  # fmt: skip
_IN_A_BROWSER = re.compile(r"[\[-](chromium|firefox|webkit)\b")
_FOREIGN = ("clients/test_foreign.py", "clients/test_documents.py")
# Fixtures that start a process.
_SERVERS = {"browser", "cluster_url", "redis_server", "start", "start_worker", "topology"}

# The same examples in each run: none of them depends on how fast this machine is just now, or on
# what an earlier run found. `--hypothesis-profile=search` looks for new ones, at leisure, and
# `brief` is for `make mutants-core`, which asks the same many times.
_SAME = hypothesis_settings(hypothesis_settings.get_profile("ci"), print_blob=True)
hypothesis_settings.register_profile("same", _SAME)
hypothesis_settings.register_profile("search", _SAME, derandomize=False, max_examples=2000)
hypothesis_settings.register_profile("brief", _SAME, max_examples=20)
hypothesis_settings.load_profile("same")

# All modules and tests stay until the end, so the garbage collector need not look at them.
gc.disable()

# redis-py reads its own version from a file for each connection, which costs more than connecting.
vars(redis.utils)["get_lib_version"] = cache(redis.utils.get_lib_version)

# Where a shell has started us in the background, SIGINT is ignored, and by our children too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# `nohup` does the same with SIGHUP.
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import what has no quick tests, where only those are asked for.

    The same holds for those that must run alone.
    """
    places = _PLACES.get(config.option.markexpr)
    if places is None or collection_path.suffix != ".py":
        return None
    return None if _is_in(collection_path.relative_to(_TESTS), places) else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their folder, and give each the time that a busy machine may need."""
    for item in items:
        path = _within(item.path)
        needs_server = bool(_SERVERS & set(getattr(item, "fixturenames", ())))
        if _is_in(path, _ALONE):
            item.add_marker("alone")
        elif _is_in(path, _QUICK) and not needs_server and not item.get_closest_marker("server"):
            item.add_marker("quick")
        if _is_in(path, _FOREIGN) or _is_in_a_second_browser(path, item.name):
            item.add_marker("foreign")
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(TEST_S))
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=_turn)


def pytest_collection_finish() -> None:
    """Leave what is there by now out of all collections, which many tests ask for."""
    gc.freeze()
    gc.enable()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadscope`, one process runs all tests in a browser, and starts it once."""
    if config.getvalue("dist") != "loadscope":
        return None
    from xdist.scheduler.loadscope import LoadScopeScheduling

    def scope(nodeid: str) -> str:
        found = _IN_A_BROWSER.search(nodeid)
        return found[1] if found else nodeid

    scheduler: Any = LoadScopeScheduling(config, log)
    scheduler._split_scope = scope
    return scheduler


def _turn(item: pytest.Item) -> int:
    """Long tests begin first, so that at the end no process works alone."""
    return _place(_within(item.path))


@cache  # each module has many tests
def _within(path: Path) -> Path:
    return path.relative_to(_TESTS)


@cache
def _place(path: Path) -> int:
    return next((n for n, place in enumerate(_LONG) if path.is_relative_to(place)), len(_LONG))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Where a part of the tests is asked for, by `-m`, it may be that there are none of them."""
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and session.config.option.markexpr:
        session.exitstatus = pytest.ExitCode.OK


def _is_in_a_second_browser(path: Path, name: str) -> bool:
    """Return True for a test of an example, in another browser than the first."""
    found = _IN_A_BROWSER.search(name)
    return path.is_relative_to("examples") and found is not None and found[1] != "chromium"


@cache
def _is_in(path: Path, places: tuple[str, ...]) -> bool:
    return any(path.is_relative_to(place) for place in places)


@pytest.fixture(autouse=True)
def _no_process_in_a_quick_test(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if request.node.get_closest_marker("quick"):
        monkeypatch.setattr(subprocess, "Popen", _refused)


def _refused(*_: Any, **__: Any) -> Any:
    raise AssertionError("a quick test starts a process: mark it with pytest.mark.server")


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
    made: Any = connect(redis_url)
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
