"""Reads where a client begins: its cursor, or what it gives as `from=` or `after=`. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from broadcaster.core import cursor
from broadcaster.core.channel import Channel
from broadcaster.core.cursor import STATE, Cursor, parse_start
from broadcaster.core.event import ZERO, EventId
from broadcaster.core.shards import without_shard
from broadcaster.core.subscription import Subscription
from broadcaster.core.wanted import Wanted
from broadcaster.errors import InvalidCursorError


class ReshardedError(InvalidCursorError):
    """The id is of other shards. It was valid before the channel was resharded, but not now."""


def at_cursor(text: str, channels: tuple[Channel, ...], subscription: Subscription) -> Wanted:
    """Read a client's `Last-Event-ID`.

    Returns:
        What the client wants. A cursor that can't be read is returned as `unreadable`, not raised,
        because the answer to an error, 400, would end an `EventSource` for good.
    """
    try:
        return _restored(text, channels, subscription)
    except InvalidCursorError:
        return Wanted(channels, subscription, unreadable=text)


def begin_at(
    text: str, channels: tuple[Channel, ...], subscription: Subscription, now_ms: int
) -> Wanted:
    """Read a place to begin: a cursor, an event id, `earliest`, `latest`, a time or a duration.

    Raises:
        InvalidCursorError: it is none of these.
    """
    # Positions consist of digits and hyphens, or have an equals sign. A time has a T as well.
    if "=" not in text and not text.replace("-", "").isdigit():
        return Wanted(channels, subscription, start=parse_start(text, now_ms))
    try:
        return _restored(text, channels, subscription)
    except ReshardedError:  # the id was valid before the number of shards changed
        return Wanted(channels, subscription, unreadable=text)


def _restored(text: str, channels: tuple[Channel, ...], subscription: Subscription) -> Wanted:
    positions, run, states = restore(text, subscription, channels)
    made = subscription.on_demand
    if made is None:
        return Wanted(channels, subscription, positions, states=states)
    if run is None and not states and all(position == ZERO for position in positions.values()):
        return Wanted(channels, subscription)  # before any run, the beginning is a new run
    if run is None or made.name not in {*positions, *states}:
        raise InvalidCursorError(f"the id of a {made.name} event names its run")
    return Wanted(channels, subscription, positions, run, states=states)


def restore(text: str, subscription: Subscription, channels: Iterable[Channel]) -> Cursor:
    """Read a client's id, which `Subscription.cursor` of this or another subscription has made.

    * `0` is the beginning of all streams. Clients send it that have seen no event yet.
    * `state` is the state of all streams that have one. For the others, the start applies.
    * A client may drop a channel and keep its cursor. Names of other channels are ignored.
    * A client may add a channel. The cursor does not name it, so the channel's start applies.
    * If the cursor names only some shards of a channel, the other ones are new or were not
      followed. They are read from `0-0`, so that no event is missed.
    * If the cursor names a shard that is not followed now, it is refused. A key may have moved
      from that shard to another one, and the client may not have seen its last events there.

    Returns:
        A position for each followed stream of the channels that the cursor names, or the state.

    Raises:
        InvalidCursorError: it can't be read, names none of the streams, or names the state of one
            that has none.
        ReshardedError: it names shards of a channel that are not followed now, or it is of a time
            when the channel had no shards.
    """
    if text == STATE and (of_all := _with_state(channels).intersection(subscription.streams)):
        return Cursor({}, states=of_all)
    if "=" not in text:
        position = EventId.parse(text)
        if subscription.named and position != ZERO:
            # An id without names was valid for one channel before it had shards. It never was for
            # several channels.
            alone = subscription.sharded and len({channel.name for channel in channels}) == 1
            error = ReshardedError if alone else InvalidCursorError
            raise error("the id names none of the subscription's channels")
        return Cursor(dict.fromkeys(subscription.streams, position))
    named, run, states = cursor.parse(text)
    positions = {name: id_ for name, id_ in named.items() if name in subscription.streams}
    every, states = (*named, *states), states.intersection(subscription.streams)
    if states and not states <= _with_state(channels):
        raise InvalidCursorError("the id names the state of a channel that has none")
    for channel in channels:
        named_here = {name for name in every if channel.name in (name, without_shard(name)[0])}
        followed = channel.streams.keys() & set(subscription.streams)
        if named_here - followed:
            raise ReshardedError(f"the id names shards of {channel.name!r} that are not read now")
        if named_here:
            for name in followed - states:
                positions.setdefault(name, ZERO)
    if not positions and not states:
        raise InvalidCursorError("none of the subscription's channels is in it")
    return Cursor(positions, run, states)


def _with_state(channels: Iterable[Channel]) -> frozenset[str]:
    """Return the streams of the channels that have a state."""
    return frozenset(name for channel in channels if channel.state for name in channel.streams)
