"""A page of a channel's log, as JSON: for clients that can't hold a connection. Pure."""

from __future__ import annotations

from typing import Any

import orjson

from broadcaster.core.event import Event, Reset
from broadcaster.core.json.jsontext import is_json
from broadcaster.core.reading.reading import Yielded
from broadcaster.core.resume.page import PAGE_BYTES
from broadcaster.core.wire import ResetReason


class LogPage:
    """Events in order, and the reset before them. Data that is JSON stays as it was sent.

    Attributes:
        count: of its events.
    """

    def __init__(self, most_events: int, most_bytes: int = PAGE_BYTES) -> None:
        """Begin without events.

        Args:
            most_events: that it has.
            most_bytes: of its events, without the last one.
        """
        self.count = 0
        self._most_events = most_events
        self._most_bytes = most_bytes
        self._events = list[bytes]()
        self._bytes = 0
        self._resets = list[Reset]()

    @property
    def full(self) -> bool:
        """Return True if it takes no further event."""
        return self.count >= self._most_events or self._bytes >= self._most_bytes

    @property
    def empty(self) -> bool:
        """Return True if it tells a client nothing."""
        return not self.count and not self._resets

    def add(self, value: Yielded, id_: bytes) -> None:
        """Add a value. `Live` adds nothing: the client learns it from `more`.

        Args:
            value: the next one.
            id_: the position after it.
        """
        if isinstance(value, Event):
            self._events.append(event_as_json(value, id_))
            self._bytes += len(self._events[-1])
            self.count += 1
        elif isinstance(value, Reset):
            self._resets.append(value)

    def render(self, next_: bytes, *, more: bool, complete: bool) -> bytes:
        """Return the answer.

        Args:
            next_: the position after everything in it.
            more: events follow that could have been sent now.
            complete: the last event is a terminal one, so nothing will follow.
        """
        rest = {"next": next_.decode(), "reset": self._reset(), "more": more, "complete": complete}
        return b'{"events":[%b],%b' % (b",".join(self._events), orjson.dumps(rest)[1:])

    def _reset(self) -> dict[str, Any] | None:
        """Return the data of its reset, None without one. Those of several shards become one."""
        if not self._resets:
            return None
        first, last = self._resets[0], self._resets[-1]
        if {reset.shard for reset in self._resets} == {first.shard}:
            return _data(first._replace(resumed=last.resumed))
        no_id = first.reason in (ResetReason.INVALID, ResetReason.GONE)
        return {
            "channel": first.channel,
            "reason": first.reason,
            "requested": first.requested if no_id else self._named("requested"),
            "resumed": self._named("resumed"),
        }

    def _named(self, field: str) -> str:
        found = {f"{one.channel}.{one.shard}": getattr(one, field) for one in self._resets}
        return ",".join(f"{stream}={text}" for stream, text in sorted(found.items()))


def _data(reset: Reset) -> dict[str, Any]:
    found = reset._asdict()
    del found["state"]  # a page never has one
    if reset.shard is None:
        del found["shard"]
    return found


def event_as_json(event: Event, id_: bytes = b"") -> bytes:
    """Return an event as JSON. Data that is JSON stays as it was sent, and other data is a text.

    Args:
        event: without an id of its own.
        id_: its id; empty if it has none.
    """
    type_, key = orjson.dumps(event.type), orjson.dumps(event.key)
    if is_json(event.data):
        name, data = b"data", event.data
    else:
        name, data = b"text", orjson.dumps(event.data.decode())
    begin = b'{"id":"%b",' % id_ if id_ else b"{"
    return b'%b"type":%b,"key":%b,"%b":%b}' % (begin, type_, key, name, data)
