"""The commands on a terminal, and when Redis gives out half-way."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import orjson
import pytest

from broadcaster import EmbeddedRedis, Publisher
from tests.command_line import SCRIPT, Start, finished, ready
from tests.wait import PATIENCE_S, until

_STYLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A pseudo terminal for processes to write to."""

    def __init__(self) -> None:
        self._ours, self.theirs = os.openpty()
        self._seen = b""
        asyncio.get_running_loop().add_reader(self._ours, self._read)

    def _read(self) -> None:
        self._seen += os.read(self._ours, 65536)

    def text(self) -> str:
        """The output until now, without colors and movements of the cursor."""
        return _STYLE.sub("", self._seen.decode())

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._ours)
        os.close(self._ours)
        os.close(self.theirs)


@pytest.fixture
async def terminal(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Terminal]:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("NO_COLOR", raising=False)
    made = Terminal()
    yield made
    made.close()


async def test_publish_shows_how_far_it_is_and_keeps_ids_apart(
    terminal: Terminal, redis_url: str, tmp_path: Path
) -> None:
    lines = tmp_path / "events.ndjson"
    lines.write_text('{"data": 1}\n' * 2500)
    with lines.open() as source:
        process = await asyncio.create_subprocess_exec(
            *(SCRIPT, "publish", "inventory", "--redis-url", redis_url),
            stdin=source,
            stdout=asyncio.subprocess.PIPE,
            stderr=terminal.theirs,
        )
        ids, _ = await process.communicate()
    assert process.returncode == 0
    assert len(set(ids.split())) == 2500
    await until(lambda: "2,500 events" in terminal.text())


async def test_tail_writes_lines_for_people(
    terminal: Terminal, start: Start, redis_url: str, publisher: Publisher
) -> None:
    node = await start("serve", "--port", "0", "--redis-url", redis_url)
    url = await node.url()
    await ready(url)
    id_ = await publisher.publish("inventory", type="t", data="\x1b[2Jdata")
    process = await asyncio.create_subprocess_exec(
        *(SCRIPT, "tail", "inventory", "--from", "earliest", "--base-url", url, "--count", "2"),
        stdout=terminal.theirs,
        stderr=terminal.theirs,
    )
    await until(lambda: "stream.live" in terminal.text())
    assert f"{id_}  t  \\x1b[2Jdata" in terminal.text()
    assert re.search(r"\d\d:\d\d:\d\d\.\d{3}  ", terminal.text())
    await publisher.redis.delete("inventory")
    await until(lambda: "stream.reset" in terminal.text())
    await publisher.publish("inventory", data="after")
    assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0


def _is_shown(terminal: Terminal, text: str) -> bool:
    return text in terminal.text()


async def test_the_time_of_each_line_is_that_of_its_own_event(
    terminal: Terminal, start: Start, redis_url: str, publisher: Publisher
) -> None:
    node = await start("serve", "--port", "0", "--redis-url", redis_url)
    url = await node.url()
    await ready(url)
    process = await asyncio.create_subprocess_exec(
        *(SCRIPT, "tail", "inventory,orders", "--base-url", url, "--key", "7", "--count", "4"),
        stdout=terminal.theirs,
        stderr=terminal.theirs,
    )
    await until(lambda: "stream.live" in terminal.text())
    # The second and the last one are older than the newest event of the other channel.
    ids = [("orders", 1_700_000_120_111), ("inventory", 1_700_000_000_222),
           ("orders", 1_700_000_180_333), ("inventory", 1_700_000_060_444)]  # fmt: skip
    for channel, ms in ids:
        await publisher.redis.xadd(channel, {"key": "7", "data": f"{channel}-{ms}"}, id=f"{ms}-0")
        await until(partial(_is_shown, terminal, f"{channel}-{ms}\r"))
    assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0
    for channel, ms in ids:
        (line,) = [x for x in terminal.text().splitlines() if x.endswith(f"{channel}-{ms}")]
        assert re.search(r"\d\d:\d\d:\d\d\.(\d{3})", line)[1] == str(ms)[-3:]  # type: ignore[index]


async def test_events_that_redis_had_no_room_for_are_reported(start: Start) -> None:
    line = orjson.dumps({"data": "x" * 4000}).decode() + "\n"
    with EmbeddedRedis("--maxmemory", "3mb", "--maxmemory-policy", "noeviction") as redis:
        publish = await start("publish", "inventory", "--redis-url", redis.url)
        status, ids, said = await finished(publish, line * 900)
        async with Publisher(redis.url) as publisher:
            stored = await publisher.redis.xlen("inventory")
    assert status == 1
    assert 0 < len(ids) == stored < 900
    found = re.search(r"line (\d+): .* (\d+) events were published$", said)
    assert found
    assert int(found[1]) <= stored + 1  # Redis may take a few after the first that it refuses
    assert int(found[2]) == stored
