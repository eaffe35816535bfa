"""`broadcaster publish`: publishes lines of JSON from a pipe.

Each line is an object with `data` and optionally `type`, `key` and `id`. `data` goes out as it is
written. An event with an `id`, as `broadcaster tail` writes it, is stored once. Lines that have
arrived are published before more are read. So events of a slow source are not delayed to fill a
batch.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from typing import BinaryIO, NamedTuple, Protocol

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from broadcaster.backend.publishing.outgoing import BATCH
from broadcaster.commands.direct_publisher import DirectPublisher
from broadcaster.commands.hub_publisher import HubPublisher
from broadcaster.commands.output import give_up, say
from broadcaster.core.event import EventId
from broadcaster.core.json.incoming import Incoming, parse
from broadcaster.errors import BroadcasterError, InvalidEventError, PartialPublishError
from broadcaster.settings import Settings

_READ_BYTES = 1 << 20

Advance = Callable[[int, int], object]
"""Called with the bytes read and the events published since the last call."""


class EventPublisher(Protocol):
    """Publishes to Redis, or through a hub. An event with an id is stored once."""

    def check(self, channel: str, event: Incoming) -> None:
        """Check that an event may be published. Raises subclasses of `BroadcasterError`."""

    def publish_many(self, channel: str, events: Sequence[Incoming]) -> list[EventId]:
        """Publish events in order, and return their ids. Raises the same."""


class InputError(BroadcasterError):
    """A line is not an event, or Redis failed. Names the line and counts the published events."""


class _Line(NamedTuple):
    number: int
    text: bytes


class LinePublisher:
    """Publishes the lines of a source to one channel.

    Attributes:
        sent: number of events that are certainly published.
    """

    def __init__(
        self,
        publisher: EventPublisher,
        channel: str,
        announce: Callable[[list[EventId]], object],
        advance: Advance = lambda size, events: None,
    ) -> None:
        """Choose a channel. Nothing is read before `publish`.

        Args:
            publisher: publishes the events. The caller closes it.
            channel: the channel to publish to.
            announce: called with the ids of published events, in order.
            advance: see `Advance`.
        """
        self.sent = 0
        self._publisher = publisher
        self._channel = channel
        self._announce = announce
        self._advance = advance

    def publish(self, source: BinaryIO) -> None:
        """Publish all lines up to the end of the source.

        Raises:
            InputError: names the line. All lines before it are published. That line and all after
                it are not, unless the message says that this is uncertain.
        """
        for size, lines in _available(source):
            before, batch, failure = self.sent, list[tuple[int, Incoming]](), ""
            for number, text in lines:
                try:
                    batch.append((number, self._event(text)))
                except json.JSONDecodeError as error:
                    failure = f"line {number} is not JSON: {error}"
                    break
                except InvalidEventError as error:
                    failure = f"line {number}: {error}"
                    break
            self._send(batch)
            self._advance(size, self.sent - before)
            if failure:
                raise InputError(f"{failure}. {self._so_far()}")

    def _event(self, line: bytes) -> Incoming:
        event = parse(line)
        self._publisher.check(self._channel, event)  # now, while the line's number is known
        return event

    def _send(self, batch: list[tuple[int, Incoming]]) -> None:
        ids: list[EventId | None] = []
        try:
            ids += self._publisher.publish_many(self._channel, [event for _, event in batch])
        except PartialPublishError as error:
            ids += error.ids
            number = batch[ids.index(None)][0]
            raise InputError(
                f"line {number}: {_said(error.__cause__)}. It and lines after it may be published "
                f"or not. {self._so_far(ids)}"
            ) from error
        except BroadcasterError as error:
            raise InputError(f"line {batch[0][0]}: {_said(error)}. {self._so_far()}") from error
        finally:
            if sent := [id_ for id_ in ids if id_ is not None]:
                self.sent += len(sent)
                self._announce(sent)

    def _so_far(self, ids: list[EventId | None] | None = None) -> str:
        sent = self.sent + sum(id_ is not None for id_ in ids or ())
        return f"{sent} events were published" if sent else "Nothing was published"


def _said(error: BaseException | None) -> str:
    return str(error).rstrip(".")


def _available(source: BinaryIO) -> Iterator[tuple[int, list[_Line]]]:
    """Read the lines that have arrived, in batches, without blank lines.

    Yields:
        The number of bytes read, and at most `BATCH` lines.
    """
    rest, number = b"", 0
    read: Callable[[int], bytes] = getattr(source, "read1", source.read)
    while data := read(_READ_BYTES):
        *texts, rest = (rest + data).split(b"\n")
        lines = iter([_Line(number + i, t) for i, t in enumerate(texts, 1) if t.strip()])
        number += len(texts)
        size = len(data)
        while batch := list(islice(lines, BATCH)):
            yield size, batch
            size = 0
    if rest.strip():
        yield 0, [_Line(number + 1, rest)]


@contextmanager
def opened(settings: Settings, channel: str) -> Iterator[DirectPublisher]:
    """Yield a publisher for a channel of these settings, and close it at the end.

    Raises:
        UnknownChannelError: the settings have no such channel.
        ConfigurationError: the settings have no url of Redis, or a schema can't be read.
    """
    settings.channels.channel(channel)  # raises before the first line is read
    with closing(DirectPublisher(settings)) as publisher:
        yield publisher


@contextmanager
def through(url: str, token: str) -> Iterator[HubPublisher]:
    """Yield a publisher through a hub, and close it at the end.

    Raises:
        ConfigurationError: the url can't be used.
    """
    with closing(HubPublisher(url, token)) as publisher:
        yield publisher


def publish_stdin(publisher: EventPublisher, channel: str) -> None:
    """Publish the lines of stdin, print their ids, and show the progress.

    Raises:
        InputError: as `LinePublisher.publish` raises it, and on Ctrl-C.
    """
    source = sys.stdin.buffer
    if source.isatty():
        say('One event a line, like {"data": {"n": 1}}; Ctrl-D ends it.', err=True)
    with progress_bar(source) as advance:
        lines = LinePublisher(publisher, channel, print_ids, advance)
        try:
            lines.publish(source)
        except KeyboardInterrupt:
            raise InputError(
                f"interrupted. {lines.sent} events were published, and perhaps the next "
                f"{BATCH} at most"
            ) from None


def publish_one(publisher: EventPublisher, channel: str, event: Incoming) -> None:
    """Publish an event, and print its id. Raises subclasses of `BroadcasterError`."""
    publisher.check(channel, event)
    print_ids(publisher.publish_many(channel, [event]))


def print_ids(ids: list[EventId]) -> None:
    """Print ids to stdout. The events are stored, so it goes on if they can't be written.

    A pipe whose reader has gone wants no more ids. Any other failure is said on stderr, once.
    """
    try:
        click.echo("\n".join(map(str, ids)))
    except BrokenPipeError:
        give_up(sys.stdout)
    except OSError as error:
        give_up(sys.stdout)
        say(f"the ids can't be written, but events are published: {error.strerror}", err=True)


@contextmanager
def progress_bar(source: BinaryIO) -> Iterator[Advance]:
    """Show the progress on stderr, if that is a terminal.

    Yields:
        The function to call with the progress.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda size, events: None
        return
    columns = (TextColumn("{task.fields[events]:,} events"), BarColumn(), TimeElapsedColumn())
    published = 0
    # Ids go to stdout. If that is the same terminal, rich prints them above the bar.
    with Progress(*columns, console=console, redirect_stdout=sys.stdout.isatty()) as progress:
        bar = progress.add_task("", total=_size(source), events=0)

        def advance(size: int, events: int) -> None:
            nonlocal published
            published += events
            progress.update(bar, advance=size, events=published)

        yield advance


def _size(source: BinaryIO) -> int | None:
    """Return the size of a file in bytes; None for a pipe."""
    try:
        status = os.fstat(source.fileno())
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
