"""A trip through a node stays in so few files that a reader can follow it."""

from __future__ import annotations

import subprocess
import sys


def test_trips_stay_in_few_files() -> None:
    command = [sys.executable, "-m", "bench.trips"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert [line.split()[0] for line in run.stdout.splitlines()] == ["reconnect", "event"]
