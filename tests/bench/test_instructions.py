"""Instructions are counted by valgrind, which may be missing."""

from __future__ import annotations

import subprocess
import sys


def test_a_missing_valgrind_is_named() -> None:
    command = [sys.executable, "-m", "bench.instructions"]
    run = subprocess.run(command, env={"PATH": ""}, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr == "Error: valgrind is missing; Debian's package has its name\n"
