"""Describes a channel: the ids that clients can read, and how many entries there are."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from broadcaster.backend.log import Log
from broadcaster.core import cursor
from broadcaster.core.channel import Channel
from broadcaster.core.cursor import Positions
from broadcaster.core.event import ZERO, EventId
from broadcaster.core.history.window import Window
from broadcaster.core.log import Beginning
from broadcaster.errors import BroadcasterError


async def described(channel: Channel, windows: Mapping[str, Window], log: Log) -> dict[str, Any]:
    """Return the oldest and newest id that a client can read, the length, and the path.

    Args:
        channel: the one to describe.
        windows: of its streams, and maybe others.
        log: has its streams.
    """
    oldest, newest, length = Positions(), Positions(), 0
    for stream in channel.streams:
        first, retained = await _retained(stream, windows[stream], log)
        length += retained
        if first:
            oldest[stream] = first
        if (head := windows[stream].head) != ZERO:
            newest[stream] = head
    return {
        "channel": channel.name,
        "path": channel.path,
        "key_param": channel.key_param,
        "key_required": channel.needs_key,
        "on_demand": bool(channel.requests),
        "oldest": _from(channel, oldest),
        "newest": _from(channel, newest),
        "length": length,
    }


async def _retained(stream: str, window: Window, log: Log) -> tuple[EventId | None, int]:
    """Return the id of a stream's oldest entry, and the number of entries."""
    if not window.complete:  # Redis retains more, but while it is away there is only the window
        with contextlib.suppress(BroadcasterError):
            beginning = await log.ask(stream, Beginning())
            oldest = beginning.after() if isinstance(beginning, EventId) else None
            return oldest, (await log.retained(stream)).length
    return window.oldest(), len(window)


def _from(channel: Channel, positions: Positions) -> str | None:
    """Return the value of `from=` that begins at these positions of a channel."""
    if not positions:
        return None
    return cursor.render(positions).decode() if channel.shards > 1 else str(positions[channel.name])
