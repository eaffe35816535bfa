"""Each test is of one kind, and CI runs all kinds."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests import forks
from tests.tiers import KINDS, kind_of, may_have, process

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"


@pytest.mark.parametrize(
    ("place", "name", "fixtures", "kind"),
    [
        ("core/fanout/test_hub.py", "test_a", (), "quick"),
        ("web/test_spread.py", "test_a", ("redis_url", "redis_server"), ""),
        ("docs/test_links.py", "test_a", (), ""),
        ("e2e/test_page.py", "test_a[firefox]", ("browser",), "system"),
        ("deploy/test_compose.py", "test_a", (), "alone"),
        ("clients/test_foreign.py", "test_a", (), "foreign"),
        ("examples/test_chat.py", "test_a[chromium]", ("browser",), "system"),
        ("examples/test_chat.py", "test_a[webkit]", ("browser",), "foreign"),
    ],
    ids=range(8),
)
def test_the_kind_of_a_test(place: str, name: str, fixtures: tuple[str, ...], kind: str) -> None:
    assert kind_of(TESTS / place, name, fixtures) == kind
    assert may_have(kind, TESTS / place)


def test_a_mark_says_more_than_the_place() -> None:
    assert kind_of(TESTS / "core/fanout/test_hub.py", "test_a", (), {"server"}) == ""
    proxies = TESTS / "deploy/test_proxies.py"
    assert kind_of(proxies, "test_a", (), {"alone"}) == "alone"
    assert may_have("alone", proxies)


def test_what_system_tests_have_is_refused_elsewhere() -> None:
    with pytest.raises(ValueError, match="browser"):
        kind_of(TESTS / "web/test_assets.py", "test_a[chromium]", ("browser",))
    with pytest.raises(ValueError, match="alone"):
        kind_of(TESTS / "web/test_assets.py", "test_a", (), {"alone"})


def test_a_quick_test_starts_no_process() -> None:  # as this one
    with pytest.raises(AssertionError, match="starts a process"):
        subprocess.run([sys.executable, "--version"], check=False)
    with pytest.raises(AssertionError, match="starts a process"):
        forks.begin([], {}, None, ())


async def test_a_quick_test_does_not_listen() -> None:  # as this one
    with pytest.raises(AssertionError, match="or listens"):
        socket.create_server(("127.0.0.1", 0))
    with pytest.raises(AssertionError, match="or listens"):
        await asyncio.start_server(lambda _, __: None, "127.0.0.1", 0)


def test_one_process_runs_all_tests_of_a_browser() -> None:
    assert process("tests/e2e/test_page.py::test_a[firefox]") == "firefox"
    assert process("tests/e2e/test_page.py::test_b[x-firefox]") == "firefox"
    assert process("tests/web/test_spread.py::test_a") == "tests/web/test_spread.py::test_a"


def recipes(targets: str) -> list[str]:
    """The expressions after `-m` in these targets of the Makefile."""
    text = (ROOT / "Makefile").read_text("utf-8")
    found: list[str] = []
    for target in targets.split():
        recipe = re.search(rf"^{target}: install\n((?:\t.*\n)+)", text, re.MULTILINE)
        assert recipe
        found += [a or b for a, b in re.findall(r'PYTEST\) -m (?:"(.*?)"|(\S+))', recipe[1])]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_ci_runs_each_kind_once(kind: str) -> None:
    steps = re.findall(r"^step \S+ make (\S+)", (ROOT / ".ci/run").read_text("utf-8"), re.MULTILINE)
    assert {"test", "system-test", "clients"} <= set(steps)
    marks = {name: name == kind for name in KINDS if name}
    # Expressions of marks are expressions of Python.
    times = sum(bool(eval(chosen, {}, marks)) for chosen in recipes("test system-test"))
    assert times == (kind != "foreign")  # `make clients` names the files of these
