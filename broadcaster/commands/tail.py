"""`broadcaster tail`: events of a stream on a terminal or into a pipe, resumed for ever.

On a terminal: a line for people. In a pipe: one JSON object a line. Its `data` is what was sent
where that is JSON but no string, with every digit as it was; else it is the text, as a string. So
`broadcaster publish` reads it back to the same bytes. The hub's own events (`stream.live`,
`stream.reset`) are lines too: a gap that was announced must not become a silent one here.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Coroutine
from contextlib import aclosing, suppress
from datetime import datetime
from urllib.parse import quote, urlencode, urljoin

import click
import orjson
from rich.console import Console
from rich.text import Text

from broadcaster.client.parser import StreamEvent
from broadcaster.client.source import EventSource
from broadcaster.commands.logs import printable
from broadcaster.core.wire import LIVE, RESERVED_PREFIX, RESET

_ENTRY_MS = re.compile(r"(?:^|,)(?:(?!run=)[^,=]+=)?(\d{1,13})-\d+")
_STYLES = {RESET.type: "bold red", LIVE.type: "green"}


def address(
    target: str,
    base_url: str,
    keys: tuple[str, ...] = (),
    types: tuple[str, ...] = (),
    start: str | None = None,
) -> str:
    """The url of what to read.

    Args:
        target: a channel, several with commas between, a path, or a url.
        base_url: of the hub, for anything but a url.
        keys: only events with one of these; for channels, as paths have their own ways.
        types: only events of these types.
        start: where to begin.

    Raises:
        ValueError: keys for a url or a path.
    """
    fields = [("type", type_) for type_ in types]
    fields += [("from", start)] if start is not None else []
    if "/" in target:
        if keys:
            raise ValueError("--key goes with a channel; a url or path names its keys itself")
        url = target if "://" in target else urljoin(base_url, target)
        joint = "&" if "?" in url else "?"
        return f"{url}{joint}{urlencode(fields)}" if fields else url
    fields = [("channel", target), *(("key", key) for key in keys), *fields]
    return f"{base_url.rstrip('/')}/v1/events?{urlencode(fields, quote_via=quote)}"


async def tail(url: str, count: int | None) -> None:
    """Write events to stdout until the stream is over.

    Args:
        url: of the stream.
        count: stop after so many events, the hub's own not counted; None never does.

    Raises:
        StreamRefusedError: the server will not serve it.
        BrokenPipeError: nobody reads stdout any more.
    """
    source = EventSource(url, on_change=_Changes())
    if sys.stdout.isatty():
        await _read(source, on_terminal(Console()), count)
    else:
        await _while_read_by_somebody(_read(source, into_pipe, count))


async def _while_read_by_somebody(work: Coroutine[None, None, None]) -> None:
    """Work until it is done, or stdout is a pipe that nobody reads any more.

    Without this, a quiet stream would go on after `| head` is done.
    """
    closed = asyncio.Event()
    with suppress(OSError):  # a file can't be waited for, and is always there
        # The end that is written to becomes readable only when the other one is closed.
        asyncio.get_running_loop().add_reader(sys.stdout.fileno(), closed.set)
    tasks = asyncio.create_task(work), asyncio.create_task(closed.wait())
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finished = tasks[0].done()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if not finished:
        raise BrokenPipeError
    tasks[0].result()


async def _read(
    source: EventSource, show: Callable[[StreamEvent], object], count: int | None
) -> None:
    async with aclosing(source.events()) as events:
        async for event in events:
            show(event)
            if count is not None and not event.type.startswith(RESERVED_PREFIX):
                count -= 1
                if count == 0:
                    return


def into_pipe(event: StreamEvent) -> None:
    """Write an event as a line of JSON, at once."""
    line = {"id": event.id, "type": event.type, "data": _as_sent(event.data)}
    sys.stdout.buffer.write(orjson.dumps(line) + b"\n")
    sys.stdout.buffer.flush()


def _as_sent(data: str) -> object:
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        return data
    if isinstance(found, str):
        return data
    # A line feed in it would end our line.
    return found if "\n" in data else orjson.Fragment(data)


def on_terminal(console: Console) -> Callable[[StreamEvent], object]:
    """What writes an event as a line for people: time, id, type, data."""

    before: set[str] = set()

    def show(event: StreamEvent) -> None:
        # Of several positions in the id, the event's own is the one that has moved.
        positions = set(event.id.split(","))
        moved = ",".join(positions - before) or event.id
        before.clear()
        before.update(positions)
        style = _STYLES.get(event.type, "")
        line = Text.assemble(
            (_time_of(moved), "dim"),
            "  ",
            (printable(event.id), "cyan"),
            "  ",
            (printable(event.type), style or "bold"),
            "  ",
            (printable(event.data), style),
        )
        console.print(line, soft_wrap=True)

    return show


def _time_of(id_: str) -> str:
    """When the newest entry that a cursor names was added, in this machine's time."""
    newest_ms = max((int(ms) for ms in _ENTRY_MS.findall(id_)), default=0)
    if not newest_ms:
        return "--:--:--.---"
    time = datetime.fromtimestamp(newest_ms / 1000).astimezone()
    return f"{time:%H:%M:%S}.{newest_ms % 1000:03d}"


class _Changes:
    """Tells on stderr when the connection is lost and when it is back, once each."""

    def __init__(self) -> None:
        self._trouble = ""

    def __call__(self, trouble: str, wait_s: float) -> None:
        if trouble and trouble != self._trouble:
            click.secho(f"{printable(trouble)}: again in {wait_s:.1f} s", err=True, dim=True)
        elif self._trouble and not trouble:
            click.secho("connected again", err=True, dim=True)
        self._trouble = trouble
