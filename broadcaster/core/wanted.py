"""The request of a client for an event stream, as it was read from its head: values only. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from broadcaster.core import cursor
from broadcaster.core.access.grants import Holder
from broadcaster.core.channel import Channel
from broadcaster.core.cursor import Start
from broadcaster.core.event import EventId
from broadcaster.core.subscription import Subscription
from broadcaster.core.wire import ResetReason

_MOST_CHARS = 256
_UNREADABLE = b"?"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The content of a request, read without a look at the streams.

    Attributes:
        channels: the channels that it names.
        subscription: the subscription to these.
        positions: the positions that its cursor names.
        run: the run that its cursor names, on a channel made on demand.
        start: where to begin in the streams that its cursor does not name. None means the
            channel's own start.
        unreadable: its cursor, if that can't be read or proves nothing.
        reason: the reason of the reset that `unreadable` leads to.
        holder: of its grants; None if they name no subject and do not end.
        states: the streams that its cursor names without a position: it lost its connection before
            it had all of their state.
    """

    channels: tuple[Channel, ...]
    subscription: Subscription
    positions: Mapping[str, EventId] = field(default_factory=dict)
    run: EventId | None = None
    start: Start | None = None
    unreadable: str | None = None
    reason: ResetReason = ResetReason.INVALID
    holder: Holder | None = None
    states: frozenset[str] = frozenset()

    def anew(self) -> Wanted:
        """Return the same request without its run, which is gone. A reset says so."""
        text = cursor.render(self.positions, self.run, self.states).decode()
        return Wanted(self.channels, self.subscription, unreadable=text, reason=ResetReason.GONE)

    @property
    def cursor(self) -> bytes:
        """Return the id that the client came with; empty if it has none.

        If it can't be read, it is returned all the same, or one that can't be read either. A client
        that lost it would begin anew, without the reset that it is to get.
        """
        if self.unreadable is not None:
            fits = self.unreadable.isprintable() and len(self.unreadable) <= _MOST_CHARS
            return self.unreadable.encode() if fits else _UNREADABLE
        if self.run is None and not self.subscription.named:
            if self.states:
                return cursor.STATE.encode()
            return b"".join(b"%d-%d" % position for position in self.positions.values())
        named = self.positions or self.states
        return cursor.render(self.positions, self.run, self.states) if named else b""
