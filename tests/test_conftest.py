"""What `conftest.py` does for all tests, tried with tests of tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.wait import TEST_S

_HANGING = """
import time
import pytest

@pytest.fixture
def never_closed():
    yield
    time.sleep(1000)

def test_that_fails(never_closed):
    assert False
"""


def test_a_test_that_hangs_after_its_failure_ends_the_process(tmp_path: Path) -> None:
    """pytest-timeout stops its clock when a test fails, so it does not end this one."""
    tried = tmp_path / "test_tried.py"
    tried.write_text(_HANGING)
    hooks = "from tests.conftest import pytest_configure, pytest_runtest_teardown\n"
    (tmp_path / "conftest.py").write_text(hooks)
    environment = {**os.environ, "PATIENCE": "0.001", "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "pytest", "-v", "-c", os.devnull, "-p", "no:cacheprovider"]
    ended = subprocess.run(
        [*command, f"--rootdir={tmp_path}", str(tried)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=TEST_S,
        check=False,
    )
    assert "test_tried.py::test_that_fails FAILED" in ended.stdout
    assert "in never_closed" in ended.stderr
    assert ended.returncode == 1
