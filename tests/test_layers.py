"""The layer rules are closed: a module that belongs to no layer, or reaches up, is refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINT = Path(sys.executable).with_name("lint-imports")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The packages, and the rules they are checked with."""
    for package in ("broadcaster", "workers"):
        # Others write there while it is copied.
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def broken(copy: Path) -> str:
    """Return import-linter's findings in the copy, or an empty text."""
    command = [str(LINT), "--no-cache"]
    # From inside of the copy, whose packages come before the installed ones.
    run = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    return run.stdout if run.returncode else ""


def test_the_packages_as_they_are_keep_the_rules(copy: Path) -> None:
    assert not broken(copy)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("broadcaster/stray.py", ""),
        ("broadcaster/auth/__init__.py", ""),
        ("broadcaster/core/stray.py", "import time\n"),
        ("broadcaster/core/stray.py", "import pydantic\n"),
        ("broadcaster/web/stray.py", "import redis\n"),
        ("broadcaster/node/stray.py", "import starlette\n"),
        ("broadcaster/web/stray.py", "import uvicorn\n"),
        ("broadcaster/web/tokens/stray.py", "import jwt\n"),
        ("broadcaster/web/stray.py", "import broadcaster.backend.tailer\n"),
        ("broadcaster/client/stray.py", "import broadcaster.settings\n\nimport broadcaster.web\n"),
        ("broadcaster/settings_too.py", "import broadcaster.web.routes\n"),
        ("workers/stray.py", "import broadcaster.core.event\n"),
    ],
)
def test_a_stray_module_is_refused(copy: Path, file: str, text: str) -> None:
    (copy / file).parent.mkdir(exist_ok=True)
    (copy / file).write_text(text)
    assert "BROKEN" in broken(copy)
