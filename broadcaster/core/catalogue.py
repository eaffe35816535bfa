"""All channels of a hub, and the stream that each channel and key resolve to. Pure.

Nodes, publishers, workers and commands ask a catalogue where the events of a channel are. A channel
that is not in it is an error everywhere: an event in a stream with a wrong name reaches no client.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any, NamedTuple

from broadcaster.core.channel import Channel
from broadcaster.core.shards import shard_of
from broadcaster.errors import ConfigurationError, UnknownChannelError

OUR_PATHS = (
    "/", "/page/{name}", "/page/token", "/client.js", "/react.js",
    "/openapi.json", "/asyncapi.json", "/docs",
    "/healthz", "/readyz", "/metrics",
    "/v1/events", "/v1/nodes", "/v1/health", "/v1/channels", "/v1/channels/{channel}",
    "/v1/channels/{channel}/events", "/v1/channels/{channel}/state",
    "/v1/runs/{run}", "/v1/runs/{run}/stop",
    "/v1/tickets", "/v1/revocations",
    "/v1/operations/stream",
)  # fmt: skip
"""The hub's own paths. No channel may have one of them."""
BOUNDS = ("maxlen", "window_events", "window_bytes")
"""The properties of a channel that are also settings. A setting is the channels' default."""


class Destination(NamedTuple):
    """The stream that holds the events of a channel about one key.

    Attributes:
        stream: its name, in cursors and metrics.
        shard: its number; None for a channel without shards.
        redis_key: its key in Redis.
        maxlen: about how many entries the stream retains.
    """

    stream: str
    shard: int | None
    redis_key: str
    maxlen: int


class Catalogue(Mapping[str, Channel]):
    """An immutable mapping of names to channels."""

    __slots__ = ("_channels", "_destinations")

    def __init__(self, channels: Iterable[Channel]) -> None:
        """Check that one hub can serve these channels together, and keep them.

        Raises:
            ConfigurationError: there are no channels, two have the same name or path, or a path is
                one of the hub's own.
        """
        listed = tuple(channels)
        self._channels = {channel.name: channel for channel in listed}
        _check(listed)
        # Resolved once, because a publisher asks for each event.
        self._destinations = {channel.name: _destinations(channel) for channel in listed}

    @classmethod
    def of(cls, channels: Mapping[str, Channel] | Iterable[Channel]) -> Catalogue:
        """Return a catalogue of a mapping by name, or of channels; a catalogue as it is.

        Raises:
            ConfigurationError: as for `Catalogue`, or a channel has another name in the mapping.
        """
        if isinstance(channels, Catalogue):
            return channels
        if isinstance(channels, Mapping):
            for name, channel in channels.items():
                if channel.name != name:
                    raise ConfigurationError(
                        f"channel {name!r} is called {channel.name!r}: leave the name out, it is "
                        "that of the table"
                    )
            channels = channels.values()
        return cls(channels)

    def __getitem__(self, name: str) -> Channel:
        return self._channels[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._channels)

    def __len__(self) -> int:
        return len(self._channels)

    def __repr__(self) -> str:
        return f"Catalogue({list(self._channels.values())!r})"

    def channel(self, name: str) -> Channel:
        """Return the channel with this name.

        Raises:
            UnknownChannelError: there is no such channel.
        """
        if name not in self._channels:
            raise UnknownChannelError(name, self._channels)
        return self._channels[name]

    def resolve(self, channel: str, key: str = "") -> Destination:
        """Return the stream that holds the events of a channel about a key.

        Args:
            channel: its name.
            key: what the event is about; `""` for the whole channel.

        Raises:
            UnknownChannelError: there is no such channel.
        """
        found = self._destinations.get(channel)
        if found is None:
            raise UnknownChannelError(channel, self._channels)
        return found[shard_of(key, len(found))] if len(found) > 1 else found[0]

    def requests_of(self, channel: str) -> str:
        """Return the Redis key of the stream that holds the requests to a channel on demand.

        Raises:
            UnknownChannelError: there is no such channel.
            ConfigurationError: the channel is not made on demand.
        """
        if requests := self.channel(channel).requests:
            return requests
        raise ConfigurationError(
            f"channel {channel!r} is not made on demand: give it a stream of requests, such as "
            f"requests = {channel + '.requests'!r}"
        )

    @property
    def streams(self) -> dict[str, str]:
        """Map the name of each stream, as cursors and metrics use it, to its Redis key."""
        return {name: key for channel in self.values() for name, key in channel.streams.items()}

    @property
    def unlisted(self) -> frozenset[str]:
        """Return the names of channels that are not listed, and of their streams."""
        hidden = (channel for channel in self.values() if not channel.listed)
        return frozenset(name for channel in hidden for name in (channel.name, *channel.streams))


def with_bounds(tables: Mapping[str, Any] | None, bounds: Mapping[str, Any]) -> dict[str, Any]:
    """Return the channels' tables with bounds filled in where a channel sets none of its own.

    Args:
        tables: the configured channels, one table for each name; None means those of the pet
            store. A value that is not a table stays as it is, so that its check can refuse it.
        bounds: values of some of `BOUNDS`, not checked yet.
    """
    given = tables
    if given is None:
        given = {name: _table(channel) for name, channel in PET_STORE.items()}
    return {
        name: {**bounds, **table} if isinstance(table, dict) else table
        for name, table in given.items()
    }


def _table(channel: Channel) -> dict[str, Any]:
    names = [field.name for field in fields(channel) if field.name not in BOUNDS]
    return {name: getattr(channel, name) for name in names}


def _destinations(channel: Channel) -> tuple[Destination, ...]:
    streams = channel.streams.items()
    return tuple(
        Destination(stream, shard if channel.shards > 1 else None, redis_key, channel.maxlen)
        for shard, (stream, redis_key) in enumerate(streams)
    )


def _check(channels: tuple[Channel, ...]) -> None:
    """Raise ConfigurationError for channels that can't be served together; see `Catalogue`."""
    if not channels:
        raise ConfigurationError("at least one channel is needed")
    names, paths = set[str](), dict[str, str]()
    for channel in channels:
        if channel.name in names:
            raise ConfigurationError(f"two channels have the same name, {channel.name!r}")
        names.add(channel.name)
        # A request may have a slash at the end of its path.
        other = paths.setdefault(channel.path.rstrip("/"), channel.name)
        if other != channel.name:
            raise ConfigurationError(
                f"channels {other!r} and {channel.name!r} have the same path, {channel.path}: "
                "each channel needs its own"
            )
        for path in OUR_PATHS:
            if _covers(channel.path, path) or _covers(path, channel.path):
                raise ConfigurationError(
                    f"channel {channel.name!r}: its path is also {path}, the hub's own"
                )


def _covers(path: str, other: str) -> bool:
    """Return True if a request for `other` also matches `path`."""
    pattern = "[^/]+".join(map(re.escape, re.split(r"\{\w+\}", path)))
    return re.fullmatch(pattern, other) is not None


PET_STORE = Catalogue(
    (
        Channel(
            name="orders",
            path="/v1/orders/{key}/status/stream",
            start="earliest",
            terminal=frozenset({"complete"}),
            state="last",
        ),
        Channel(name="inventory", path="/v1/inventory/stream", key_param="petId", state="last"),
        Channel(
            name="recommendations",
            path="/v1/pets/recommendations/stream",
            key_param="userId",
            key_required=True,
            requests="recommendations.requests",
            terminal=frozenset({"complete"}),
            state="append",
            append="reason",
        ),
    )
)
"""The default channels, for a hub without configured ones: the API of a pet store."""
DEMO = Catalogue(
    replace(channel, key_required=False, state_ttl="5m") if channel.name == "orders" else channel
    for channel in PET_STORE.values()
)
"""The pet store's channels as the demo has them: its page shows all orders at once.

Its state forgets an order soon after its end, so that a page that opens is not sent all of a day.
"""
