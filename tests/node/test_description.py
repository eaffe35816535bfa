"""What a node says about a channel."""

from __future__ import annotations

from broadcaster.backend.memory import MemoryLog
from broadcaster.core.channel import Channel
from broadcaster.core.event import ZERO
from broadcaster.core.history.window import Window
from broadcaster.node.description import described


async def test_a_channel_without_entries_has_no_ids() -> None:
    channel = Channel(name="a", path="/a")
    found = await described(channel, {"a": Window(10, 1000)}, MemoryLog())
    assert found == {
        "channel": "a", "path": "/a", "key_param": "key", "key_required": False, "on_demand": False,
        "oldest": None, "newest": None, "length": 0,
    }  # fmt: skip


async def test_it_says_what_a_client_has_to_name() -> None:
    for channel in (
        Channel(name="a", path="/a/{key}"),
        Channel(name="a", path="/a", requests="a.asked", key_param="user"),
    ):
        found = await described(channel, {"a": Window(10, 1000)}, MemoryLog())
        assert found["key_required"]
        assert found["on_demand"] == bool(channel.requests)
        assert found["key_param"] == channel.key_param


async def test_what_the_window_does_not_have_is_asked_for() -> None:
    log = MemoryLog()
    first = log.add("a", data="x")
    log.add("a", data="y")
    window = Window(10, 1000)
    window.restart(ZERO, complete=False)
    found = await described(Channel(name="a", path="/a"), {"a": window}, log)
    assert (found["oldest"], found["length"]) == (str(first), 2)


async def test_shards_are_named() -> None:
    log = MemoryLog()
    first = log.add("a.1", data="x")
    windows = {"a.0": Window(10, 1000), "a.1": Window(10, 1000)}
    windows["a.1"].restart(ZERO, complete=False)
    found = await described(Channel(name="a", path="/a", shards=2), windows, log)
    assert found["oldest"] == f"a.1={first}"
