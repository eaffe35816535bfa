"""Installs the foreign clients, in a cache outside the tree, and gives the commands that run them.

A directory of the cache is made once per content of a language's folder. Nothing of it is in git:
the folders here have the drivers, and lock files that name no registry.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "broadcaster-clients"
"""Where all of it is kept. Nothing in it is in git."""
_INSTALL_TIMEOUT_S = 900.0


class MissingError(Exception):
    """A toolchain or its registry is not there, so that its clients can't be tried."""


@functools.cache
def command(language: str) -> tuple[str, ...]:
    """Return the command that runs the drivers of a language; installs them before, if needed.

    Raises:
        MissingError: that is not possible here. The text says why.
    """
    program, install, run = _LANGUAGES[language]
    if shutil.which(program) is None:
        raise MissingError(f"{program} is not installed")
    sources = sorted(path for path in (HERE / language).rglob("*") if path.is_file())
    sources = [path for path in sources if "__pycache__" not in path.parts]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    target = CACHE / f"{language}-{digest}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{language}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # pytest's processes share the cache
        if not (target / ".installed").exists():
            shutil.rmtree(target, ignore_errors=True)
            for path in sources:
                copy = target / path.relative_to(HERE / language)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
            install(target)
            (target / ".installed").touch()
    return run(target)


def _call(where: Path, *command: str, **variables: str) -> None:
    try:
        subprocess.run(
            command,
            cwd=where,
            env={**os.environ, **variables},
            check=True,
            timeout=_INSTALL_TIMEOUT_S,
            capture_output=True,
            text=True,
        )
    except subprocess.CalledProcessError as error:
        raise MissingError(f"{' '.join(command[:2])} failed:\n{error.stderr[-2000:]}") from error
    except subprocess.TimeoutExpired as error:
        raise MissingError(f"{' '.join(command[:2])} took too long") from error


def _npm(target: Path) -> None:
    _call(target, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")


def _pip(target: Path) -> None:
    _call(target, sys.executable, "-m", "venv", "venv")
    install = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    _call(target, "venv/bin/python", *install, "--require-hashes", "-r", "requirements.txt")


def _go(target: Path) -> None:
    _call(target, "go", "build", "-mod=readonly", "-o", "drivers", ".")


def _maven(target: Path) -> None:
    copy = "dependency:copy-dependencies"
    _call(target, "mvn", "--batch-mode", "--quiet", copy, "-DoutputDirectory=lib")
    sources = [path.name for path in target.glob("*.java")]
    _call(target, "javac", "-cp", "lib/*", "-d", "classes", *sources)


def _cargo(target: Path) -> None:
    """Build. A lock file of cargo names the registry at each package; ours leaves that out."""
    lock = target / "Cargo.lock"
    ours = lock.read_text("utf-8")
    lock.unlink()
    _call(target, "cargo", "generate-lockfile")
    source = re.search(r"^source = .*$", lock.read_text("utf-8"), re.MULTILINE)
    assert source
    lock.write_text(ours.replace("\nchecksum", f"\n{source[0]}\nchecksum"), "utf-8")
    _call(target, "cargo", "build", "--locked", CARGO_TARGET_DIR=str(CACHE / "rust-target"))
    shutil.copy(CACHE / "rust-target" / "debug" / "drivers", target / "drivers")


_LANGUAGES: dict[str, tuple[str, Callable[[Path], None], Callable[[Path], tuple[str, ...]]]] = {
    "js": ("npm", _npm, lambda target: ("node", str(target / "driver.mjs"))),
    "python": (
        sys.executable,
        lambda _: None,
        lambda _: (sys.executable, "-m", "tests.clients.python.driver"),
    ),
    "go": ("go", _go, lambda target: (str(target / "drivers"),)),
    "java": (
        "mvn",
        _maven,
        lambda target: ("java", "-cp", f"{target}/classes:{target}/lib/*", "Driver"),
    ),
    "schemathesis": (
        sys.executable,
        _pip,
        lambda target: (str(target / "venv" / "bin" / "schemathesis"),),
    ),
    "rust": ("cargo", _cargo, lambda target: (str(target / "drivers"),)),
}
