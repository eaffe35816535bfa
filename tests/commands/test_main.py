"""The command line: what is wrong with what it is given is said in a line, without a traceback."""

from __future__ import annotations

from pathlib import Path

from tests.command_line import Start, finished
from tests.wait import until


async def test_serve_explains_invalid_settings(start: Start, tmp_path: Path) -> None:
    config = tmp_path / "hub.toml"
    config.write_text("drain_s = 0\nhearbeat_s = 3\n")
    status, _, said = await finished(await start("serve"))
    assert (status, "--redis-url" in said) == (2, True)
    status, _, said = await finished(await start("serve", "--redis-url", "redis://h:port"))
    assert (status, "looks like" in said) == (2, True)
    status, _, said = await finished(await start("serve", "--config", str(config)))
    assert (status, "drain_s" in said, "hearbeat_s" in said) == (2, True, True)
    assert "did you mean heartbeat_s?" in said
    assert "Traceback" not in said


async def test_a_misspelt_variable_is_said_at_the_start(start: Start, redis_url: str) -> None:
    env = {"BROADCASTER_MAXLENN": "3", "BROADCASTER_REDIS_URL": redis_url}
    node = await start("serve", "--port", "0", "--workers", "2", env=env)
    await node.url()
    await until(lambda: any("BROADCASTER_MAXLENN" in line for line in node.err))
    assert await node.stop() == 0
    (said,) = [line for line in node.err if "MAXLENN" in line]
    assert "is not a setting, so ignored: did you mean BROADCASTER_MAXLEN?" in said


async def test_misspelt_names_are_answered_with_the_nearest(start: Start) -> None:
    for arguments, meant in (
        (("serv",), "serve"),
        (("serve", "--redis-ul", "x"), "--redis-url"),
        (("publish", "inventry", "--data", "1", "--redis-url", "redis://h"), "inventory"),
    ):
        status, _, said = await finished(await start(*arguments))
        assert status == 2
        assert "did you mean" in said.lower()
        assert meant in said
