"""Cursors: positions in streams, and the one id that carries them. Pure.

* One stream: the Redis id, `1710000000000-0`.
* Several streams: `inventory=1710000000000-0,orders=17…5-1`, sorted by name.
* Shards are streams of their own. They are always named, also a single one, so that an id shows
  how its channel was sharded: `orders.0=17…0-0,orders.1=17…5-1`.
* The run of a channel made on demand is one more name: `run=…`.
* A client that loses its connection amid a state has the word `state` in the place of a position.

An id has only characters that need no CORS preflight:
https://fetch.spec.whatwg.org/#cors-safelisted-request-header
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Literal, NamedTuple, cast

from broadcaster.core.event import EventId
from broadcaster.core.run import RUN
from broadcaster.errors import InvalidCursorError

Positions = dict[str, EventId]
"""A reader's position in each stream: the id of the last entry that it has read."""

Start = Literal["earliest", "latest", "state"] | int
"""The place where a client without a cursor begins: an end of the stream, its state, or a time in
ms."""

STATE = "state"
"""It stands in place of a position, and means: begin with the state of the stream."""

_MAX_CURSOR_CHARS = 16384
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_DURATION = re.compile(r"(\d{1,12})(ms|s|m|h|d)", re.ASCII)
_UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
# The clock of a client may be ahead, or its time zone wrong. A time beyond that is a mistake.
_CLIENT_AHEAD_MS = 86_400_000


class Cursor(NamedTuple):
    """The content of an id.

    Attributes:
        positions: that it names.
        run: that it names; None if it names none.
        states: the streams that begin with their state. They have no position.
    """

    positions: Positions
    run: EventId | None = None
    states: frozenset[str] = frozenset()


def render(
    positions: Mapping[str, EventId], run: EventId | None = None, states: Collection[str] = ()
) -> bytes:
    """Return the id that restores several positions, or one that has to be named.

    Every position is written, also a boundary that is not an entry's id. If it were left out, the
    client would restart that stream. A boundary is proven by the entry right after it.

    Args:
        positions: by the names of the streams.
        run: that is followed.
        states: streams that begin with their state, whatever their position is.
    """
    named = dict(positions) if run is None else {**positions, RUN: run}
    if states:
        texts = {name: str(id_) for name, id_ in named.items()} | dict.fromkeys(states, STATE)
        return ",".join(f"{name}={texts[name]}" for name in sorted(texts)).encode()
    return b",".join(b"%b=%d-%d" % (name.encode(), *named[name]) for name in sorted(named))


def parse(text: str) -> Cursor:
    """Read an id that names its streams, as `render` writes it.

    Raises:
        InvalidCursorError: the text has another form, names a stream twice, or is too long.
    """
    if len(text) > _MAX_CURSOR_CHARS:
        raise InvalidCursorError(f"a cursor has at most {_MAX_CURSOR_CHARS} characters")
    named, states = Positions(), set[str]()
    for part in text.split(","):
        name, equals, id_ = part.partition("=")
        if not equals:
            raise InvalidCursorError(f"{part[:64]!r} is not like name=1710000000000-0")
        if name in named or name in states:
            raise InvalidCursorError(f"{name[:64]!r} occurs twice")
        if id_ == STATE and name != RUN:
            states.add(name)
        else:
            named[name] = EventId.parse(id_)
    run = named.pop(RUN, None)
    return Cursor(named, run, frozenset(states))


def parse_start(text: str, now_ms: int) -> Start:
    """Read a `from` that is not an event id: one of three words, a time or a duration back.

    Args:
        text: `earliest`, `latest` or `state`, an RFC 3339 time (`2026-01-31T12:00:00Z`), or a
            number with the unit `ms`, `s`, `m`, `h` or `d`.
        now_ms: milliseconds since 1970. A duration counts back from it.

    Returns:
        The word, or milliseconds since 1970.

    Raises:
        InvalidCursorError: the text is none of these, or a time more than a day in the future.
    """
    if text in ("earliest", "latest", STATE):
        return cast("Start", text)
    if match := _DURATION.fullmatch(text):
        return max(0, now_ms - int(match[1]) * _UNIT_MS[match[2]])
    time = text.replace(" ", "+")  # an unescaped + of a zone offset arrives as a space
    if _TIME.fullmatch(time):
        time_ms = _milliseconds(time)
        if 0 <= time_ms <= now_ms + _CLIENT_AHEAD_MS:
            return min(time_ms, now_ms)
        raise InvalidCursorError(f"{text!r} is not between 1970 and tomorrow")
    raise InvalidCursorError(
        f"{text[:64]!r} is none of: an event id like 1710000000000-0, earliest, latest, state, "
        "an RFC 3339 time like 2026-01-31T12:00:00Z, a duration back like 10m"
    )


def parse_duration(text: str) -> int:
    """Return the milliseconds of a duration: a number with the unit `ms`, `s`, `m`, `h` or `d`.

    Raises:
        InvalidCursorError: the text is no duration.
    """
    if match := _DURATION.fullmatch(text):
        return int(match[1]) * _UNIT_MS[match[2]]
    raise InvalidCursorError(f"{text[:64]!r} is not a duration like 10m")


def _milliseconds(text: str) -> int:
    try:
        return int(datetime.fromisoformat(text.upper()).timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise InvalidCursorError(f"{text!r} is no date: {error}") from error
