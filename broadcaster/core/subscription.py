"""Subscriptions: the streams, the filter and the terminal types of a client's request. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from broadcaster.core import cursor
from broadcaster.core.channel import MAX_KEY_BYTES, Channel
from broadcaster.core.cursor import Positions
from broadcaster.core.event import Boundary, EventId
from broadcaster.core.filter import ALL, NONE, Filter, KeysAndTypes, Restricted
from broadcaster.core.sse import Frame
from broadcaster.core.wire import RESTART
from broadcaster.errors import InvalidRequestError

Granted: TypeAlias = tuple[tuple[str, frozenset[str]], ...]
"""The names of channels, and the only keys of each that are granted; none means every key."""

_RESTARTS = frozenset({RESTART.type})


@dataclass(frozen=True, slots=True)
class Subscription:
    """The request of a client. Subscribers with equal subscriptions get the same bytes.

    Attributes:
        streams: the names of its channels' streams, sorted; they name the positions of its cursor.
        filter: which of their events it gets.
        terminal: types that end the response. Only a subscription to one key of one channel has
            them.
        run: the run that it follows, on a channel made on demand.
        sharded: one of its channels has shards, so that even a single position is named.
        untyped: the only types that keep their `event:` line; None if all types do.
        beats: its heartbeats are events. A page can't see a comment, nor notice that none comes.
            Subscribers to the same events share their bytes, whatever this is.
        on_demand: its only channel, if that is made on demand.
        apart: the only keys of each stream, in the order of `streams`, where they differ; none of
            a stream means any. It is empty if the keys of the filter hold for all streams.
        named: True if its cursor names the streams. Otherwise the cursor is the id of an entry of
            its only stream.
        keys: the only keys that its events have; none means any.
        keys_of: the only keys of each stream, in the order of `streams`; none means any.
        selective: True if `select` may leave out frames.
        plain: True if it is sent frames as they are encoded.
    """

    streams: tuple[str, ...]
    filter: Filter = ALL
    terminal: frozenset[str] = frozenset()
    run: EventId | None = None
    sharded: bool = False
    untyped: frozenset[str] | None = None
    beats: bool = field(default=False, compare=False)
    on_demand: Channel | None = field(default=None, compare=False, repr=False)
    apart: tuple[frozenset[str], ...] = ()
    # Computed once from the fields above, because they are read for each batch.
    named: bool = field(init=False, compare=False, repr=False)
    keys: frozenset[str] = field(init=False, compare=False, repr=False)
    keys_of: tuple[frozenset[str], ...] = field(init=False, compare=False, repr=False)
    selective: bool = field(init=False, compare=False, repr=False)
    plain: bool = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Compute `named`, `keys`, `keys_of`, `selective` and `plain`."""
        several = len(self.streams) > 1 or self.sharded or self.run is not None
        object.__setattr__(self, "named", several)
        object.__setattr__(self, "keys", self.filter.keys)
        object.__setattr__(self, "keys_of", self.apart or (self.keys,) * len(self.streams))
        object.__setattr__(self, "selective", bool(self.terminal) or not self.filter.exact)
        object.__setattr__(self, "plain", not several and self.untyped is None)

    @classmethod
    def to(
        cls,
        channels: Iterable[Channel],
        keys: Iterable[str] = (),
        types: Iterable[str] = (),
        filter: Filter | None = None,
        *,
        names: bool = True,
        beats: bool = False,
        granted: Granted | None = (),
    ) -> Subscription:
        """Return the subscription to these channels.

        Filters always admit terminal events, without which a client would reconnect for ever, and
        restarts of runs.

        Args:
            channels: one or more.
            keys: only events with one of these keys; none means all.
            types: only events of these types; none means all.
            filter: a user's own; it selects among the events that keys and types admit.
            names: False if events go without their `event:` line. Those of a terminal type of one
                of the channels keep it, and so do restarts.
            beats: as the attribute.
            granted: of each channel whose grant says something about keys, if the client names no
                key. None if the policy is still to be asked: then no key is missing yet.

        Raises:
            InvalidRequestError: there is no channel, a channel needs a key, a key or a type is too
                long, a channel made on demand has company or not exactly one key, or the filter
                admits none of the keys.
        """
        chosen = {channel.name: channel for channel in channels}
        keys, types = _checked("key", keys), _checked("type", types)
        if filter and filter.keys and not (keys := keys & filter.keys if keys else filter.keys):
            raise InvalidRequestError("the filter admits none of the keys")
        if not chosen:
            raise InvalidRequestError("name at least one channel: ?channel=…")
        own = None if granted is None else dict(granted)
        by_channel = {name: keys or (own or {}).get(name, NONE) for name in chosen}
        _check_keys(chosen, by_channel, own)
        differ = len(set(by_channel.values())) > 1
        common = NONE if differ else next(iter(by_channel.values()))
        alone = len(chosen) == 1 and len(common) == 1
        terminal = next(iter(chosen.values())).terminal if alone else NONE
        made = next((c for c in chosen.values() if c.requests), None)
        restarts = _RESTARTS if made else NONE
        always = terminal | restarts
        within = KeysAndTypes.of(common, types | always if types else NONE)
        keys_of = dict(sorted(_keys_of_streams(chosen, by_channel)))
        return cls(
            tuple(keys_of),
            Restricted(filter, within, always) if filter else within,
            terminal,
            sharded=any(channel.shards > 1 for channel in chosen.values()),
            untyped=None if names else restarts.union(*(c.terminal for c in chosen.values())),
            beats=beats,
            on_demand=made,
            apart=tuple(keys_of.values()) if differ else (),
        )

    def cursor(self, positions: Positions, states: Collection[str] = ()) -> bytes:
        """Return the id that restores these positions; empty if no id can.

        Args:
            positions: one for each of its streams.
            states: those of its streams that begin with their state instead.
        """
        if self.named:
            return cursor.render(positions, self.run, states)
        if states:
            return cursor.STATE.encode()
        position = positions[self.streams[0]]
        # No id is written for a boundary: an id that is sent alone is always an entry's, or `0-0`.
        # A client that was sent no id starts again where it started before.
        return b"" if isinstance(position, Boundary) else b"%d-%d" % position

    @property
    def filtered(self) -> bool:
        """Return True if the filter leaves out events, so that heartbeats carry the position."""
        return bool(self.apart) or not self.filter.everything

    def accepts(self, stream: str, frame: Frame) -> bool:
        """Return True if the subscription gets this event of one of its streams."""
        if self.apart:
            keys = self.apart[self.streams.index(stream)]
            if keys and frame.key not in keys:
                return False
        return self.filter.admits(frame)

    def narrowed_to(self, key: str, run: EventId) -> Subscription:
        """Return the same subscription, narrowed to one run, whose events have this key."""
        return replace(self, filter=self.filter.with_key(key), run=run)

    def goes_without_type(self, frame: Frame) -> bool:
        """Return True if this event is sent without its `event:` line."""
        return self.untyped is not None and frame.type not in self.untyped

    def ends_with(self, frame: Frame) -> bool:
        """Return True if the response ends after this event of its only channel."""
        return frame.type in self.terminal and self.filter.admits(frame)

    def select(self, frames: list[Frame]) -> tuple[list[Frame], bool]:
        """Return the frames to send, up to the first terminal one, and True if there is one.

        Args:
            frames: in order; each has one of the subscription's keys.
        """
        frames = self.filter.select(frames)
        if self.terminal:
            for count, frame in enumerate(frames, 1):
                if frame.type in self.terminal:
                    return frames[:count], True
        return frames, False


def _keys_of_streams(
    channels: Mapping[str, Channel], keys: Mapping[str, frozenset[str]]
) -> Iterator[tuple[str, frozenset[str]]]:
    for name, channel in channels.items():
        for stream in channel.streams_of(keys[name]):
            yield stream, keys[name]


def _check_keys(
    channels: Mapping[str, Channel],
    keys: Mapping[str, frozenset[str]],
    granted: Mapping[str, frozenset[str]] | None,
) -> None:
    """Raise an `InvalidRequestError` if a channel can't be read with these keys.

    Args:
        channels: all of the subscription, by name.
        keys: of each channel; none means any.
        granted: as in `Subscription.to`, by channel.
    """
    for name, channel in channels.items():
        in_doubt = granted is not None and name not in granted
        if in_doubt and channel.needs_key and not any(keys[name]):
            raise InvalidRequestError(
                f"channel {name!r} needs a key: ?{channel.key_param}=…, or ?key=… at /v1/events "
                f"and /v1/channels/{name}/events"
            )
    on_demand = [name for name, channel in channels.items() if channel.requests]
    at_least = 0 if granted is None else 1
    if on_demand and (len(channels) > 1 or not at_least <= len(keys[on_demand[0]]) <= 1):
        raise InvalidRequestError(
            f"{', '.join(on_demand)}: made on demand, so it comes alone, and for one key"
        )


def _checked(what: str, texts: Iterable[str]) -> frozenset[str]:
    """Return keys or types. Raises an `InvalidRequestError` if one is too long."""
    found = tuple(texts)
    for text in found:
        size = len(text.encode(errors="surrogatepass"))
        if size > MAX_KEY_BYTES:
            raise InvalidRequestError(
                f"{what} {text[:32]!r}… has {size} bytes in UTF-8; at most {MAX_KEY_BYTES} may be"
            )
    return frozenset(found) or NONE
