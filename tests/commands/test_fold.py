"""`broadcaster fold` as a user runs it: it is killed, stopped, and left alone without Redis."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from broadcaster import EmbeddedRedis, connect
from broadcaster.backend.checkpoints.checkpoint import Checkpoint, Found
from broadcaster.core.catalogue import PET_STORE
from broadcaster.core.entry import encode
from broadcaster.core.state.checkpoint import named
from tests.command_line import Start, finished
from tests.wait import until

RULES = PET_STORE["inventory"].state_rules
LOCKS = [f"{{{stream}}}:folder" for stream in PET_STORE]


def checkpoint_of(client: Any) -> Checkpoint:
    assert RULES is not None
    return Checkpoint(client, "inventory", named(RULES))


async def ends_at(client: Any, head: bytes) -> Found:
    """Wait until the checkpoint of the inventory is that of the log up to an entry."""
    checkpoint = checkpoint_of(client)

    async def found() -> Found | None:
        now = await checkpoint.read()
        return now if now.mark and str(now.mark.position) == head.decode() else None

    reached = await until(found)
    assert reached is not None
    return reached


async def test_a_folder_that_is_killed_again_and_again_loses_nothing(
    start: Start, redis_url: str, client: Any
) -> None:
    newest, checkpoint = dict[str, bytes](), checkpoint_of(client)
    for round_ in range(4):
        folder = await start("fold", "--redis-url", redis_url)
        await folder.line("Folding orders, inventory, recommendations.")
        for n in range(300):
            key = f"{n % 40}"
            newest[key] = b"%d" % (round_ * 1000 + n)
            head = await client.xadd("inventory", encode("t", key, newest[key]))
            if n == 100:
                await until(lambda: client.exists("{inventory}:state"))
        await folder.stop(signal.SIGKILL)
        await client.delete(*LOCKS)
        mark = await checkpoint.mark()
        assert mark is not None
        assert mark.position is not None
        await client.xtrim("inventory", minid=str(mark.position.after()), approximate=False)
    folder = await start("fold", "--redis-url", redis_url)
    found = await ends_at(client, head)
    assert await folder.stop(signal.SIGTERM) == 0
    assert found.mark is not None
    assert found.mark.since is None
    assert {value.key: value.data for value in found.values} == newest
    assert "Traceback" not in "".join(folder.err)


async def test_it_outlives_redis_and_flushes_when_it_is_stopped(start: Start) -> None:
    with EmbeddedRedis("--appendonly", "yes") as redis:
        folder = await start("fold", "--redis-url", redis.url)
        await folder.line("Folding")
        client: Any = connect(redis.url)
        head = await client.xadd("inventory", encode("t", "7", 1))
        await ends_at(client, head)
        redis.stop()
        await folder.line("is not folded now")
        redis.start()
        head = await until(lambda: client.xadd("inventory", encode("t", "7", 2)))
        assert [value.data for value in (await ends_at(client, head)).values] == [b"2"]
        head = await client.xadd("inventory", encode("t", "7", 3))
        assert await folder.stop(signal.SIGTERM) == 0
        assert not await client.exists(*LOCKS)
        await client.aclose()


async def test_without_a_channel_with_a_state_it_says_so(start: Start, tmp_path: Path) -> None:
    config = tmp_path / "hub.toml"
    config.write_text('[channels.pets]\npath = "/v1/pets"\n', encoding="utf-8")
    status, _, said = await finished(
        await start("fold", "--config", str(config), "--redis-url", "redis://127.0.0.1:1")
    )
    assert status == 2
    assert 'no channel has a state: set state = "last" for one' in said
