"""Which target of the Makefile runs a test. Its folder decides, and for a few kinds its fixtures.

Each test is of one kind:

* `quick` tests start no process and listen at no port: core, interleavings, and the web as an ASGI
  application. `make quick` runs them in 20 s, and `make test` runs them too.
* Tests without a mark need real servers, as a rule of Valkey and of uvicorn. `make test` runs them.
* `system` tests need more than that: browsers, balancers, Prometheus, a Sentinel or a Cluster that
  fails over, older commits, or a shell with new processes, as a user has it. `make system-test`
  runs them.
* `alone` tests measure something, or need more of the machine than a test beside others gets.
  `make system-test` runs them at its end, one by one.
* `foreign` tests install clients that we did not write, in five languages: see `make clients`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache
from pathlib import Path

_TESTS = Path(__file__).parent
_QUICK = ("backend", "client", "commands", "core", "node", "settings", "web", "workers",
          "test_app.py", "test_interleavings.py", "test_mirror.py", "test_settings.py",
          "test_tenants.py", "test_tiers.py")  # fmt: skip
_SYSTEM = ("clients", "commands/test_demo.py", "commands/test_directories.py",
           "commands/test_output.py", "deploy/test_client_js.py", "deploy/test_cuts.py",
           "deploy/test_door.py", "deploy/test_http2.py", "deploy/test_observability.py",
           "deploy/test_proxies.py", "deploy/test_wheel.py", "docs/test_commands.py",
           "docs/test_private_streams.py", "e2e", "examples")  # fmt: skip
_ALONE = ("bench", "chaos/test_scenarios.py", "deploy/test_compose.py")
_FOREIGN = ("clients/test_foreign.py", "clients/test_documents.py")
_IN_A_BROWSER = re.compile(r"[\[-](chromium|firefox|webkit)\b")
# Fixtures that start a process.
_SERVERS = {"cluster_url", "redis_server", "start", "start_worker"}
# Fixtures of which only system tests may have one.
_SYSTEMS = {"balance", "browser", "stage", "topology"}
# Long tests begin first, so that at the end no process works alone.
_LONG = ("test_interleavings.py", "test_state_interleavings.py", "test_late_answers.py",
         "test_tenants.py", "e2e/test_rolling_update.py", "commands/test_supervisor.py",
         "e2e", "deploy/test_proxies.py", "deploy/test_wheel.py", "clients", "examples", "mutants",
         "docs/test_commands.py", "deploy", "commands", "workers")  # fmt: skip
_PLACES = {"quick": _QUICK, "system": _SYSTEM, "alone": (*_ALONE, *_SYSTEM)}

KINDS = ("quick", "", "system", "alone", "foreign")
"""The names of the marks; "" is for tests that have none of them."""


def kind_of(path: Path, name: str, fixtures: Collection[str], marks: Collection[str] = ()) -> str:
    """Return the kind of a test.

    Args:
        path: its file.
        name: its name, with its parameters.
        fixtures: the names of its fixtures.
        marks: those it has already: `server` if it starts a process by itself, or listens at a
            port; a system test may be `alone`.

    Raises:
        ValueError: it needs what only system tests have, or must run alone, and is not where these
            are. It would not be found there.
    """
    place = _within(path)
    if _is_in(place, _FOREIGN) or _is_in_a_second_browser(place, name):
        return "foreign"
    if _is_in(place, _ALONE):
        return "alone"
    if _is_in(place, _SYSTEM):
        return "alone" if "alone" in marks else "system"
    if needed := {*_SYSTEMS.intersection(fixtures), *{"alone"}.intersection(marks)}:
        raise ValueError(f"{place} has no system tests, but {name} needs {needed}")
    starts = "server" in marks or not _SERVERS.isdisjoint(fixtures)
    return "quick" if _is_in(place, _QUICK) and not starts else ""


def may_have(kind: str, path: Path) -> bool:
    """Return False if a file has no test of this kind, so that it need not be imported."""
    places = _PLACES.get(kind)
    return places is None or path.suffix != ".py" or _is_in(_within(path), places)


@cache
def turn(path: Path) -> int:
    """Return a number that is smaller for files that begin earlier."""
    place = _within(path)
    return next((n for n, long in enumerate(_LONG) if place.is_relative_to(long)), len(_LONG))


def process(nodeid: str) -> str:
    """Return a name: one process runs all tests that have the same, one after the other.

    So each browser is started once.
    """
    found = _IN_A_BROWSER.search(nodeid)
    return found[1] if found else nodeid


@cache  # each module has many tests
def _within(path: Path) -> Path:
    return path.relative_to(_TESTS)


@cache
def _is_in(place: Path, places: tuple[str, ...]) -> bool:
    return any(place.is_relative_to(each) for each in places)


def _is_in_a_second_browser(place: Path, name: str) -> bool:
    """Return True for a test of an example, in another browser than the first."""
    found = _IN_A_BROWSER.search(name)
    return place.is_relative_to("examples") and found is not None and found[1] != "chromium"
