"""The commands about tokens are declared, and say in their help what they do."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from broadcaster.commands.main import main


@pytest.mark.parametrize("name", ["token", "revoke"])
def test_a_command_says_what_it_does(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0
    assert f"broadcaster {name} " in result.output
    assert f"  {name} " in CliRunner().invoke(main, ["--help"]).output


@pytest.mark.server
def test_other_commands_do_not_wait_for_cryptography() -> None:
    code = "import sys, broadcaster.commands.main; print('jwt' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
