"""`broadcaster tail`: follows an event stream on a terminal or into a pipe, and always resumes.

A terminal gets a readable line per event. A pipe gets one JSON object per line. If the event's data
is JSON in one line but not a string, `data` is that JSON, byte for byte. Otherwise `data` is the
text as a string. So `broadcaster publish` publishes the same bytes again. The hub's own events
(`stream.live`, `stream.state`, `stream.superseded`, `stream.reset`, `stream.expired`) are lines
too, because an announced gap must not become a silent one. The events of a state have an empty
`id`.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Coroutine
from contextlib import aclosing, suppress
from datetime import datetime
from urllib.parse import parse_qs, quote, urlencode, urljoin, urlsplit

import orjson
from rich.console import Console
from rich.text import Text

from broadcaster.client.parser import StreamEvent
from broadcaster.client.source import EventSource
from broadcaster.commands.logs import printable
from broadcaster.commands.output import say
from broadcaster.core.wire import EXPIRED, LIVE, RESERVED_PREFIX, RESET, STATE, SUPERSEDED, WAITING

_ENTRY_MS = re.compile(r"(?:^|,)(?:(?!run=)[^,=]+=)?(\d{1,13})-\d+")
_STYLES = {
    RESET.type: "bold red",
    EXPIRED.type: "bold yellow",
    LIVE.type: "green",
    STATE.type: "green",
    SUPERSEDED.type: "yellow",
    WAITING.type: "yellow",
}


def address(
    target: str,
    base_url: str,
    keys: tuple[str, ...] = (),
    types: tuple[str, ...] = (),
    start: str | None = None,
) -> str:
    """Return the url of the stream to read.

    Args:
        target: a channel, several channels separated by commas, a path, or a url.
        base_url: url of the hub. A target that is a url ignores it.
        keys: only events with one of these keys. Allowed only for channels.
        types: only events of these types.
        start: value of `from=`; None leaves the start to the channel.

    Raises:
        ValueError: `keys` is given, but the target is a url or a path.
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
        url: url of the stream.
        count: number of events after which to stop, not counting the hub's own; None is no limit.

    Raises:
        StreamRefusedError: the server refuses the stream.
        BrokenPipeError: stdout is a pipe, and its reader has closed it.
    """
    source = EventSource(url, on_change=_Changes())
    if sys.stdout.isatty():
        await _read(source, on_terminal(Console()), count)
    else:
        await _while_read_by_somebody(_read(source, into_pipe, count))


async def _while_read_by_somebody(work: Coroutine[None, None, None]) -> None:
    """Run `work` until it is done or the reader of the stdout pipe closes it.

    Without this, `tail` of a quiet stream would keep running after `| head` has ended.
    """
    closed = asyncio.Event()
    with suppress(OSError):  # stdout is a file, which can't be watched and has no reader
        # The writing end of a pipe becomes readable only when the reading end is closed.
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
    source: EventSource, show: Callable[[StreamEvent, str], object], count: int | None
) -> None:
    (start,) = parse_qs(urlsplit(source.url).query).get("from", [""])[:1]
    async with aclosing(source.events()) as events:
        async for event in events:
            show(event, source.previous_event_id or start)
            if count is not None and not event.type.startswith(RESERVED_PREFIX):
                count -= 1
                if count == 0:
                    return


def into_pipe(event: StreamEvent, _: str = "") -> None:
    """Write an event to stdout as a line of JSON, and flush it."""
    # `broadcaster publish` stores events with an id once. Those of a state have none of their own.
    id_ = "" if event.state else event.id
    line = {"id": id_, "type": event.type, "data": _as_sent(event.data)}
    sys.stdout.buffer.write(orjson.dumps(line) + b"\n")
    sys.stdout.buffer.flush()


def _as_sent(data: str) -> object:
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        return data
    if isinstance(found, str):
        return data
    # A line feed would end the line of JSON, and spaces around a value are no part of it.
    kept = "\n" not in data and data.strip() == data
    return orjson.Fragment(data) if kept else data


def on_terminal(console: Console) -> Callable[[StreamEvent, str], object]:
    """Return a function that prints an event as a readable line: time, id, type, data.

    Its second argument is the id before the event.
    """

    def show(event: StreamEvent, before: str) -> None:
        # If the id has several positions, the one that changed belongs to this event.
        id_ = "" if event.state else event.id
        moved = ",".join(set(id_.split(",")) - set(before.split(","))) or id_
        style = _STYLES.get(event.type, "")
        line = Text.assemble(
            (_time_of(moved), "dim"),
            "  ",
            (printable(id_), "cyan"),
            "  ",
            (printable(event.type), style or "bold"),
            "  ",
            (printable(event.data), style),
        )
        console.print(line, soft_wrap=True)

    return show


def _time_of(id_: str) -> str:
    """Return the local time at which the newest entry in a cursor was added."""
    newest_ms = max((int(ms) for ms in _ENTRY_MS.findall(id_)), default=0)
    if not newest_ms:
        return "--:--:--.---"
    time = datetime.fromtimestamp(newest_ms / 1000).astimezone()
    return f"{time:%H:%M:%S}.{newest_ms % 1000:03d}"


class _Changes:
    """Prints on stderr, once each, that the connection is lost and that it is back."""

    def __init__(self) -> None:
        self._trouble = ""

    def __call__(self, trouble: str, wait_s: float) -> None:
        if trouble and trouble != self._trouble:
            say(f"{printable(trouble)}: again in {wait_s:.1f} s", err=True, dim=True)
        elif self._trouble and not trouble:
            say("connected again", err=True, dim=True)
        self._trouble = trouble
