"""Turns events into the commands that store them, and replies into ids. Part of `backend`.

Publishers and transactions use it. Each event is checked before anything is sent. A channel that
does not exist, and a type or data that no node could deliver, raise an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Literal, NamedTuple, TypeAlias

from broadcaster.backend.driver.errors import NotSentError, translated
from broadcaster.backend.driver.exchange import Command
from broadcaster.core.catalogue import Catalogue, Destination
from broadcaster.core.channel import Channel
from broadcaster.core.entry import encode, text_of
from broadcaster.core.event import EventId
from broadcaster.errors import (
    BroadcasterError,
    InvalidEventError,
    PartialPublishError,
    UnknownChannelError,
)
from broadcaster.settings import load_settings
from broadcaster.settings.schemas import Schemas

BATCH = 1_000
"""The default number of events in one write of `publish_many`."""
IDEMPOTENCY_S = 3600.0
"""The default of the seconds for which an idempotency key is remembered."""

Channels: TypeAlias = Mapping[str, Channel] | Iterable[Channel]
"""The channels of a publisher: `Settings.channels`, channels by name, or an iterable of them."""
Maxlen: TypeAlias = int | Literal["channel"] | None
"""About how many entries a stream retains: a number, the channel's `maxlen`, or no limit (None)."""


class Outgoing(NamedTuple):
    """An event that has no id yet.

    Attributes:
        channel: the channel to publish to.
        type: the SSE event name. `error` and `open` also fire the handlers of a browser's
            `EventSource` for its connection.
        key: what the event is about; `""` for the whole channel.
        data: a str or bytes goes out as it is, any other value as compact JSON.
    """

    channel: str
    type: str = "message"
    key: str = ""
    data: Any = None


class NewEntry(NamedTuple):
    """An entry of a stream that is not added yet.

    Attributes:
        redis_key: of the stream.
        maxlen: about how many entries the stream retains; None is no bound.
        packed: the event.
    """

    redis_key: str
    maxlen: int | None
    packed: bytes

    def xadd(self) -> Command:
        """Return the command that adds it."""
        if self.maxlen is None:
            return ("XADD", self.redis_key, "*", b"m", self.packed)
        return ("XADD", self.redis_key, "MAXLEN", "~", self.maxlen, "*", b"m", self.packed)


class Commands:
    """Makes the `XADD` of each event, for the channels of one publisher.

    Attributes:
        channels: the channels that can be published to.
    """

    def __init__(self, channels: Channels | None, maxlen: Maxlen, *, checked: bool = False) -> None:
        """Keep the channels and the bound.

        Args:
            channels: None means those of the environment's settings.
            maxlen: see `Maxlen`.
            checked: the caller has checked that the data of its events fits the schemas.

        Raises:
            ConfigurationError: the channels, the settings or the files of schemas can't work.
        """
        given = load_settings().channels if channels is None else channels
        self.channels = Catalogue.of(given)
        self._maxlen = maxlen
        self._schemas = Schemas({} if checked else self.channels)

    def xadd(self, event: tuple[str, str, str, Any]) -> Command:
        """Return the command for `(channel, type, key, data)`; errors as for `entry`."""
        return self.entry(event).xadd()

    def entry(self, event: tuple[str, str, str, Any]) -> NewEntry:
        """Return the entry of `(channel, type, key, data)`.

        Raises:
            UnknownChannelError: there is no such channel.
            InvalidEventError: no node could deliver it, or its data does not fit its schema.
        """
        channel, type_, key, data = event
        to = self.channels.resolve(channel, key)
        if self._schemas:
            data = text_of(data)
            self._schemas.check(channel, type_, data)
        packed = encode(type_, key, data)[b"m"]
        return NewEntry(to.redis_key, self.bound(to), packed)

    def bound(self, to: Destination) -> int | None:
        """Return about how many entries a stream retains; None is no bound."""
        return to.maxlen if self._maxlen == "channel" else self._maxlen

    def batches(
        self,
        events: Iterable[tuple[str, str, str, Any]],
        size: int,
        ids: list[EventId | None],
    ) -> Iterator[list[Command]]:
        """Yield the commands of each batch. All events of a batch are checked before it is sent.

        Args:
            events: a `(channel, type, key, data)` for each event.
            size: the most events of a batch.
            ids: the ids of earlier batches. The caller adds to this list.

        Raises:
            UnknownChannelError, InvalidEventError: an event of the first batch can't be published.
            PartialPublishError: the same for a later batch. Earlier batches were sent.
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
    """Add the ids of a batch to the list.

    Args:
        ids: gets an id for each command, or None for one without.
        commands: the commands that were sent.
        replies: their replies. There are fewer if the connection broke.

    Raises:
        PartialPublishError: a command was not answered with an id.
    """
    failures = [reply for reply in replies if isinstance(reply, Exception)]
    ids.extend(None if isinstance(reply, Exception) else event_id(reply) for reply in replies)
    if failures:
        # If the connection broke, the last reply is its error, in place of the first missing one.
        # The rest of the batch was sent as well, so each of its events gets None.
        ids.extend([None] * (len(commands) - len(replies)))
        raise PartialPublishError(ids, translated(failures[0], "publish")) from failures[0]


def unsent(ids: list[EventId | None], error: NotSentError) -> BroadcasterError:
    """Return the error for a batch of which nothing was sent."""
    reason = translated(error.__cause__, "publish")
    return PartialPublishError(ids, reason) if ids else reason


def event_id(reply: bytes | str) -> EventId:
    """Return the id in a reply to `XADD`."""
    # A client of the caller's own may decode its replies to str.
    return EventId.of_entry(reply if isinstance(reply, bytes) else reply.encode())
