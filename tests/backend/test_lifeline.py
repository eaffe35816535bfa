"""A child that is bound to its parent ends with it, also if the parent is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from broadcaster.backend.lifeline import bound_to_us
from tests.command_line import none_alive
from tests.wait import until_sync

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells children"),
]

PARENT = """
import subprocess, sys, time
from broadcaster.backend.lifeline import bound_to_us
child = subprocess.Popen(bound_to_us(["/bin/sleep", "600"]))
print(child.pid, flush=True)
time.sleep(600)
"""


def test_it_runs_the_command_with_its_arguments() -> None:
    command = bound_to_us(["/bin/echo", "two words", "$HOME"])
    assert subprocess.check_output(command, text=True) == "two words $HOME\n"


def test_a_child_ends_when_its_parent_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    child = int(parent.stdout.readline())
    until_sync(lambda: Path(f"/proc/{child}/cmdline").read_bytes().startswith(b"/bin/sleep"))
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    until_sync(lambda: none_alive([child]))
