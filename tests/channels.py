"""Channels of a test's own, for publishers that write to other streams than the pet store's."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

from broadcaster import Channel
from broadcaster.core.catalogue import BOUNDS, DEMO


def named(*names: str, **properties: Any) -> tuple[Channel, ...]:
    """Channels of these names, with these properties each."""
    return tuple(Channel(name=name, path=f"/v1/{name}/stream", **properties) for name in names)


def demo() -> dict[str, dict[str, Any]]:
    """The tables of the demo's channels: those of the pet store, whose orders need no key."""
    names = [field.name for field in fields(Channel) if field.name not in BOUNDS]
    return {
        channel.name: {name: getattr(channel, name) for name in names} for channel in DEMO.values()
    }


def stateless() -> dict[str, dict[str, Any]]:
    """The same without states: a reset is followed by the events that are retained."""
    return {name: table | {"state": "", "append": ""} for name, table in demo().items()}


def demo_variable() -> str:
    """The demo's channels as the value of BROADCASTER_CHANNELS."""
    return json.dumps(demo(), default=sorted)
