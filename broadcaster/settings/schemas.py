"""The JSON Schemas of channels, from the files that the settings name.

A type without a schema of its own has that of `*`. Without that, any data fits. A hub without
schemas imports no validator: `Schemas` is falsy then, so that callers need not ask it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from broadcaster.core.channel import Channel
from broadcaster.core.event import DEFAULT_TYPE
from broadcaster.errors import ConfigurationError
from broadcaster.settings.kept import Kept

if TYPE_CHECKING:
    from broadcaster.core.json.schema import Schema

OTHERS = "*"
"""The type that stands for all types without a schema of their own."""


class Schemas:
    """The JSON Schemas of all channels. It may be used from several threads."""

    def __init__(self, channels: Mapping[str, Channel]) -> None:
        """Read the files.

        Args:
            channels: by name.

        Raises:
            ConfigurationError: a file can't be read, or has no JSON Schema.
        """
        self._channels = {
            name: _read(channel) for name, channel in channels.items() if channel.schemas
        }

    def __bool__(self) -> bool:
        """Return False if no channel has schemas."""
        return bool(self._channels)

    def check(self, channel: str, type_: str, data: str) -> None:
        """Check the data of an event, if its type has a schema.

        Args:
            channel: its name.
            type_: of the event.
            data: as clients get it.

        Raises:
            InvalidEventError: it does not fit. `pointer` says where.
        """
        files = self._channels.get(channel)
        if files and (file := files.get(type_ or DEFAULT_TYPE) or files.get(OTHERS)):
            file.look()
            file.value.check(data)

    def documents(self, channel: str) -> dict[str, Any]:
        """Return the schemas of a channel as JSON values, by type; of `*` for all other types."""
        files = self._channels.get(channel, {})
        for file in files.values():
            file.look()
        return {type_: json.loads(file.value.text) for type_, file in files.items()}


def _read(channel: Channel) -> dict[str, Kept[Schema]]:
    from broadcaster.core.json.schema import Schema  # most hubs have none, and it is slow to import

    try:
        return {t: Kept(path, Schema, "JSON Schema") for t, path in channel.schemas.items()}
    except ConfigurationError as error:
        raise ConfigurationError(f"channel {channel.name!r}: {error}") from error
