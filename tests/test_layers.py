"""The layer rules are closed: a module that belongs to no layer, or reaches up, is refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINT = Path(sys.executable).with_name("lint-imports")


def copy_of_the_packages(place: Path) -> Path:
    """Copy the packages, and the rules they are checked with, to a directory."""
    for package in ("broadcaster", "workers"):
        # Others write there while it is copied.
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, place / package, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", place)
    return place


def broken(copy: Path) -> str:
    """Return import-linter's findings in the copy, or an empty text."""
    command = [str(LINT), "--no-cache"]
    # From inside of the copy, whose packages come before the installed ones.
    run = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    return run.stdout if run.returncode else ""


def test_the_packages_as_they_are_keep_the_rules(tmp_path: Path) -> None:
    assert not broken(copy_of_the_packages(tmp_path))


# A module, what it has, and how it is refused.
STRAYS = {
    "broadcaster.stray": ("", "- broadcaster.stray\n"),
    "broadcaster.auth": ("", "- broadcaster.auth\n"),
    "broadcaster.settings_too": ("import broadcaster.web.routes\n", "- broadcaster.settings_too\n"),
    "broadcaster.core.with_a_clock": ("import time\n", "-> time (l.1)"),
    "broadcaster.core.with_files": ("import pathlib\n", "-> pathlib (l.1)"),
    "broadcaster.core.state.with_luck": ("import random\n", "-> random (l.1)"),
    "broadcaster.core.runs.that_resume": (
        "import broadcaster.core.resume.machine\n",
        "-> broadcaster.core.resume.machine (l.1)",
    ),
    "broadcaster.core.with_models": ("import pydantic\n", "-> pydantic (l.1)"),
    "broadcaster.web.with_redis": ("import redis\n", "-> redis (l.1)"),
    "broadcaster.node.with_routes": ("import starlette\n", "-> starlette (l.1)"),
    "broadcaster.web.with_a_server": ("import uvicorn\n", "-> uvicorn (l.1)"),
    "broadcaster.web.tokens.of_its_own": ("import jwt\n", "-> jwt (l.1)"),
    "broadcaster.web.beside": (
        "import broadcaster.backend.tailer\n",
        "-> broadcaster.backend.tailer (l.1)",
    ),
    "broadcaster.client.of_the_server": (
        "import broadcaster.settings\n\nimport broadcaster.web\n",
        "-> broadcaster.web (l.3)",
    ),
    "workers.with_insight": ("import broadcaster.core.event\n", "-> broadcaster.core.event (l.1)"),
}


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What import-linter says of the packages with all stray modules."""
    copied = copy_of_the_packages(tmp_path_factory.mktemp("strays"))
    for module, (text, _) in STRAYS.items():
        file = copied.joinpath(*module.split(".")).with_suffix(".py")
        file.write_text(text)
    return broken(copied)


@pytest.mark.parametrize("module", STRAYS)
def test_a_stray_module_is_refused(refusals: str, module: str) -> None:
    _, how = STRAYS[module]
    assert (f"{module} {how}" if how.startswith("->") else how) in refusals


def test_each_room_of_core_has_a_rule() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = (one["layers"] for one in contracts["contracts"]
                 if one.get("containers") == ["broadcaster.core"])  # fmt: skip
    rooms = {path.parent.name for path in (ROOT / "broadcaster" / "core").glob("*/__init__.py")}
    assert rooms == set(layers)
