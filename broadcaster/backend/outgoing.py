"""From events to the commands that store them, and from replies to ids. Part of `backend`.

Both publishers and transactions use it. An event is checked before anything is sent: a type or data
that no node could deliver, or a channel that does not exist, is an error of the caller's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Literal, NamedTuple, TypeAlias

from broadcaster.backend.driver.errors import NotSentError, translated
from broadcaster.backend.driver.exchange import Command
from broadcaster.core.catalogue import Catalogue
from broadcaster.core.channel import Channel
from broadcaster.core.entry import encode
from broadcaster.core.event import EventId
from broadcaster.errors import (
    BroadcasterError,
    InvalidEventError,
    PartialPublishError,
    UnknownChannelError,
)
from broadcaster.settings import load_settings

BATCH = 1_000
"""Events of one write of `publish_many`."""

Channels: TypeAlias = Mapping[str, Channel] | Iterable[Channel]
"""What a publisher accepts: `Settings.channels`, channels by name, or just channels."""
Maxlen: TypeAlias = int | Literal["channel"] | None
"""How many entries a stream retains: a number, what its channel says, or no limit (None)."""


class Outgoing(NamedTuple):
    """An event that has no id yet.

    Attributes:
        channel: the channel to publish to.
        type: the SSE event name.
        key: what the event is about; `""` for the whole channel.
        data: a str or bytes goes out as it is, any other value as compact JSON.
    """

    channel: str
    type: str = "message"
    key: str = ""
    data: Any = None


class Commands:
    """Makes the `XADD` of each event, for the channels of one publisher.

    Attributes:
        channels: all that can be published to.
    """

    def __init__(self, channels: Channels | None, maxlen: Maxlen) -> None:
        """Take channels; None means those of the environment's settings.

        Raises:
            ConfigurationError: the channels, or the settings, can't work.
        """
        given = load_settings().channels if channels is None else channels
        self.channels = Catalogue.of(given)
        self._maxlen = maxlen

    def xadd(self, event: tuple[str, str, str, Any]) -> Command:
        """The command for `(channel, type, key, data)`.

        Raises:
            UnknownChannelError: there is no such channel.
            InvalidEventError: no node could deliver it.
        """
        channel, type_, key, data = event
        to = self.channels.resolve(channel, key)
        packed = encode(type_, key, data)[b"m"]
        maxlen = to.maxlen if self._maxlen == "channel" else self._maxlen
        if maxlen is None:
            return ("XADD", to.redis_key, "*", b"m", packed)
        return ("XADD", to.redis_key, "MAXLEN", "~", maxlen, "*", b"m", packed)

    def batches(
        self,
        events: Iterable[tuple[str, str, str, Any]],
        size: int,
        ids: list[EventId | None],
    ) -> Iterator[list[Command]]:
        """The commands of each batch, all valid before the first of them is sent.

        Args:
            events: `(channel, type, key, data)` each.
            size: of a batch.
            ids: of the batches before; the caller adds to it.

        Raises:
            UnknownChannelError, InvalidEventError: nothing was sent.
            PartialPublishError: the same, after earlier batches.
        """
        source = iter(events)
        while True:
            try:
                commands = [self.xadd(event) for event in islice(source, size)]
            except (InvalidEventError, UnknownChannelError) as error:
                if not ids:
                    raise
                raise PartialPublishError(ids, error) from error
            if not commands:
                return
            yield commands


def note(ids: list[EventId | None], commands: list[Command], replies: list[Any]) -> None:
    """Add the ids of a batch.

    Raises:
        PartialPublishError: not every command was answered with an id.
    """
    failures = [reply for reply in replies if isinstance(reply, Exception)]
    ids.extend(None if isinstance(reply, Exception) else event_id(reply) for reply in replies)
    if failures:
        # The last of the replies may be what broke the connection, in the place of the first
        # missing one; the rest of the batch was sent as well.
        ids.extend([None] * (len(commands) - len(replies)))
        raise PartialPublishError(ids, translated(failures[0], "publish")) from failures[0]


def unsent(ids: list[EventId | None], error: NotSentError) -> BroadcasterError:
    """The error for a batch of which nothing was sent."""
    reason = translated(error.__cause__, "publish")
    return PartialPublishError(ids, reason) if ids else reason


def event_id(reply: bytes | str) -> EventId:
    """The id that an `XADD` was answered with."""
    # A client that the caller gave us may decode its replies.
    return EventId.of_entry(reply if isinstance(reply, bytes) else reply.encode())
