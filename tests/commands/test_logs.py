"""The log of the commands has no control characters for a terminal."""

from __future__ import annotations

import logging
import sys

import orjson
import pytest

from broadcaster.commands.logs import printable, set_up
from broadcaster.errors import ConfigurationError


def test_control_characters_are_written_out() -> None:
    assert printable("a\x1b[31m\r\x00\x9bb\nc") == "a\\x1b[31m\\x0d\\x00\\x9bb\nc"


def test_a_log_line_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        set_up("INFO")
        logging.getLogger("x").warning("a\n%s", "\x1b[2J\x7f\x9b")
        with pytest.raises(ConfigurationError, match="loud"):
            set_up("loud")
    finally:
        root.handlers[:] = before[0]
        root.setLevel(before[1])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    found = orjson.loads(line)
    assert (found["level"], found["logger"]) == ("warning", "x")
    assert found["message"] == "a\n\x1b[2J\x7f\x9b"


def test_control_characters_in_the_log_do_not_reach_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        set_up("INFO")
        fields = {"path": "/\x9b\n12:00:00 ERROR x: not so"}
        logging.getLogger("x").warning("%s", "\x1b[2J", extra={"fields": fields})
    finally:
        root.handlers[:] = before[0]
        root.setLevel(before[1])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(" WARNING x: \\x1b[2J path=/\\x9b\\x0a12:00:00 ERROR x: not so")
