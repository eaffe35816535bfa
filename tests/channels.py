"""Channels of a test's own, for publishers that write to other streams than the pet store's."""

from __future__ import annotations

from typing import Any

from broadcaster import Channel


def named(*names: str, **properties: Any) -> tuple[Channel, ...]:
    """Channels of these names, with these properties each."""
    return tuple(Channel(name=name, path=f"/v1/{name}/stream", **properties) for name in names)
