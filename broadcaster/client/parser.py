"""Parses the bytes of an event stream, cut at any place, into events. Pure.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

_BREAK = re.compile(rb"\r\n|\n|\r")


class StreamEvent(NamedTuple):
    """An event as a client sees it.

    Attributes:
        id: the cursor after this event; `""` if the stream has no ids.
        type: the event's name; `message` if it has none. Names `stream.…` are the hub's own.
        data: the event's data as text.
        state: True if it is a part of a channel's state. It has no id of its own then: `id` is that
            of `stream.state`, with which a reader gets the whole state again.
    """

    id: str
    type: str
    data: str
    state: bool = False

    def json(self) -> Any:
        """Return the data, parsed as JSON.

        Raises:
            ValueError: the data is not JSON.
        """
        return orjson.loads(self.data)


class Parser:
    """Parses the bytes of one response, cut at any place, into events. Pure.

    https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation

    Attributes:
        last_event_id: id of the last complete block. An incomplete block does not change it.
        retry_ms: reconnection time in milliseconds that the server sent; None if it sent none.
    """

    def __init__(self, last_event_id: str = "") -> None:
        self.last_event_id = last_event_id
        self.retry_ms: int | None = None
        self._rest: list[bytes] = []  # parts of an incomplete line
        self._after_cr = False
        self._first = True
        self._id = last_event_id
        self._type = ""
        self._data: list[str] = []

    def feed(self, data: bytes) -> Iterator[StreamEvent]:
        """Yield the events that these bytes complete, in order, and advance `last_event_id`."""
        for line in self._lines(data):
            name, _, value = line.partition(":")
            if line:
                self._field(name, value.removeprefix(" "))
            elif event := self._dispatch():
                yield event

    def _lines(self, data: bytes) -> Iterator[str]:
        if self._after_cr and data:  # the CR has ended a line already, so drop the LF of a CRLF
            data = data.removeprefix(b"\n")
            self._after_cr = False
        *lines, rest = _BREAK.split(data)
        self._after_cr = self._after_cr or data.endswith(b"\r")
        for line in lines:
            self._rest.append(line)
            text = b"".join(self._rest).decode("utf-8", "replace")
            self._rest.clear()
            # "If […] the first character is a U+FEFF BYTE ORDER MARK, it is removed"
            yield text.removeprefix("\ufeff") if self._first else text
            self._first = False
        if rest:
            self._rest.append(rest)

    def _field(self, name: str, value: str) -> None:
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._type = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry_ms = int(value[:9])

    def _dispatch(self) -> StreamEvent | None:
        type_, data = self._type, self._data
        self._type, self._data = "", []
        self.last_event_id = self._id
        return StreamEvent(self._id, type_ or "message", "\n".join(data)) if data else None
