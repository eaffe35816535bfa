"""What a client asked for. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from broadcaster.core import cursor
from broadcaster.core.channel import Channel, without_shard
from broadcaster.core.cursor import Positions
from broadcaster.core.event import ZERO, Boundary, EventId
from broadcaster.core.filter import ALL, Filter, KeysAndTypes
from broadcaster.core.sse import Frame
from broadcaster.errors import InvalidCursorError, InvalidRequestError

# One for all of the many that filter nothing: an empty set takes 216 bytes like any other.
_NONE: frozenset[str] = frozenset()


class ReshardedError(InvalidCursorError):
    """An id of other shards: it was right once, and does not prove enough now."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a client asked for. Subscribers with equal subscriptions get the same bytes.

    Attributes:
        streams: the names of its channels' streams, sorted; they name the positions of its cursor.
        filter: which of their events it gets.
        terminal: types that end the response. Only one channel with one key can be over.
        run: the run that it follows, of a channel that is made on demand.
        sharded: one of its channels has shards, so that even a single position is named.
        named: its cursor names the streams; else it is the id of an entry of the only one.
        keys: the only keys that its events have; none means any.
        selective: `select` may leave out something.
    """

    streams: tuple[str, ...]
    filter: Filter = ALL
    terminal: frozenset[str] = frozenset()
    run: EventId | None = None
    sharded: bool = False
    # These follow from the others, and are asked for all the time.
    named: bool = field(init=False, compare=False, repr=False)
    keys: frozenset[str] = field(init=False, compare=False, repr=False)
    selective: bool = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Work out what follows."""
        several = len(self.streams) > 1 or self.sharded or self.run is not None
        object.__setattr__(self, "named", several)
        object.__setattr__(self, "keys", self.filter.keys)
        object.__setattr__(self, "selective", bool(self.terminal) or not self.filter.exact)

    @classmethod
    def to(
        cls, channels: Iterable[Channel], keys: Iterable[str] = (), types: Iterable[str] = ()
    ) -> Subscription:
        """Subscribe to channels. A type filter never hides a terminal event: without it a client
        would come back for ever.

        Raises:
            InvalidRequestError: no channel, a key is missing, or more than one where one is meant.
        """
        chosen = {channel.name: channel for channel in channels}
        keys, types = frozenset(keys) or _NONE, frozenset(types) or _NONE
        if not chosen:
            raise InvalidRequestError("name at least one channel: ?channel=…")
        for channel in chosen.values():
            if channel.needs_key and not any(keys):
                raise InvalidRequestError(
                    f"channel {channel.name!r} needs a key: ?{channel.key_param}=…, "
                    "or ?key=… at /v1/events"
                )
        on_demand = [channel.name for channel in chosen.values() if channel.requests]
        if on_demand and (len(chosen) > 1 or len(keys) != 1):
            raise InvalidRequestError(
                f"{', '.join(on_demand)}: made on demand, so it comes alone, and for one key"
            )
        alone = len(chosen) == 1 and len(keys) == 1
        terminal = next(iter(chosen.values())).terminal if alone else _NONE
        streams = {name for channel in chosen.values() for name in channel.streams_of(keys)}
        return cls(
            tuple(sorted(streams)),
            KeysAndTypes.of(keys, types | terminal if types else _NONE),
            terminal,
            sharded=any(channel.shards > 1 for channel in chosen.values()),
        )

    def cursor(self, positions: Positions) -> bytes:
        """The id that restores these positions; empty if there is none to restore."""
        if self.named:
            return cursor.render(positions, self.run)
        position = positions[self.streams[0]]
        # A boundary is left out: an id that we send alone is always one of an entry, or `0-0`. A
        # client without one starts anew, where it has started.
        return b"" if isinstance(position, Boundary) else b"%d-%d" % position

    @property
    def filtered(self) -> bool:
        """Whether the cursor can fall behind although nothing is missing."""
        return not self.filter.everything

    def accepts(self, frame: Frame) -> bool:
        """Whether this event is part of it."""
        return self.filter.admits(frame)

    def narrowed_to(self, key: str, run: EventId) -> Subscription:
        """The same for one run, whose events have this key."""
        types = self.filter.types if isinstance(self.filter, KeysAndTypes) else ()
        return Subscription(self.streams, KeysAndTypes.of([key], types), self.terminal, run)

    def ends_with(self, frame: Frame) -> bool:
        """Whether the response is over after this event."""
        return frame.type in self.terminal and self.accepts(frame)

    def select(self, frames: list[Frame]) -> tuple[list[Frame], bool]:
        """Of frames with one of its keys, those to send, up to the first terminal one, and whether
        there is one."""
        frames = self.filter.select(frames)
        if self.terminal:
            for count, frame in enumerate(frames, 1):
                if frame.type in self.terminal:
                    return frames[:count], True
        return frames, False


def restore(
    text: str, subscription: Subscription, channels: Iterable[Channel]
) -> tuple[Positions, EventId | None]:
    """Read an id that a client brings, from `Subscription.cursor` of this or another subscription.

    A client may drop a channel and keep its cursor: what it names besides is passed over. If it
    adds one, the cursor does not name it, and the channel's start is for it. But a shard that is
    missing beside others of its channel was not there, or not wanted: it is read from its
    beginning, `0-0`, so that nothing of it is missed. And a shard that is named and not followed
    may hold what the client has not seen of a key that has moved to another one.

    Returns:
        A position for each stream that the client has been told of, and the run.

    Raises:
        InvalidCursorError: it can't be read, or names none of the streams.
        ReshardedError: it names shards of a channel that are not followed now: what the client has
            not seen there can't be vouched for.
    """
    if not subscription.named and "=" not in text:
        return {subscription.streams[0]: EventId.parse(text)}, None
    named, run = cursor.parse(text)
    positions = {name: id_ for name, id_ in named.items() if name in subscription.streams}
    for channel in channels:
        told = {name for name in named if channel.name in (name, without_shard(name)[0])}
        followed = channel.streams.keys() & set(subscription.streams)
        if told - followed:
            raise ReshardedError(f"the id names shards of {channel.name!r} that are not read now")
        if told:
            for name in followed:
                positions.setdefault(name, ZERO)
    if not positions:
        raise InvalidCursorError("none of the subscription's channels is in it")
    return positions, run
