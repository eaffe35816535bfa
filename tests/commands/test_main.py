"""The command line: what is wrong with what it is given is said in a line, without a traceback."""

from __future__ import annotations

from pathlib import Path

from tests.command_line import Start, finished


async def test_serve_explains_invalid_settings(start: Start, tmp_path: Path) -> None:
    config = tmp_path / "hub.toml"
    config.write_text("drain_s = 0\nhearbeat_s = 3\n")
    status, _, said = await finished(await start("serve"))
    assert (status, "--redis-url" in said) == (2, True)
    status, _, said = await finished(await start("serve", "--redis-url", "redis://h:port"))
    assert (status, "looks like" in said) == (2, True)
    status, _, said = await finished(await start("serve", "--config", str(config)))
    assert (status, "drain_s" in said, "hearbeat_s" in said) == (2, True, True)
    assert "Traceback" not in said
