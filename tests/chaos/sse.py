"""An event stream as a browser reads it, written from the standard and not from the hub.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

import re

from tests.chaos.history import Block, Kind, digest_of

AT = "stream.at"
_KINDS = {
    "stream.live": Kind.LIVE,
    "stream.reset": Kind.RESET,
    "stream.state": Kind.STATE,
    "stream.superseded": Kind.SUPERSEDED,
}
_COMMENTS = re.compile(rb"\A(:.*(\n|\Z))+")


class Splitter:
    """Cuts bytes that arrive in pieces into blocks, whatever the ends of their lines."""

    __slots__ = ("_begun", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._begun = False

    def feed(self, piece: bytes) -> list[bytes]:
        """Take bytes, and return the blocks that are complete now, their lines joined by LF."""
        data = self._rest + piece if self._rest else piece
        if not self._begun and len(data) >= 3:
            # "The UTF-8 decode algorithm strips one leading UTF-8 Byte Order Mark (BOM), if any."
            self._begun = True
            data = data.removeprefix(b"\xef\xbb\xbf")
        held = b""
        if b"\r" in data:
            if data.endswith(b"\r"):  # perhaps half of a CRLF
                data, held = data[:-1], b"\r"
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *blocks, self._rest = data.split(b"\n\n")
        self._rest += held
        # Without the comments before them, blocks that mean the same are equal.
        return [_COMMENTS.sub(b"", block) if block.startswith(b":") else block for block in blocks]


def read(block: bytes) -> Block:
    """Interpret the lines up to a blank one.

    As in Firefox and WebKit, and against the standard, an id in a block without data is ignored.
    """
    id_: str | None = None
    type_, retry_ms = "", None
    data: list[bytes] = []
    for line in block.split(b"\n"):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"id" and b"\0" not in value:
            id_ = value.decode("utf-8", "replace")
        elif name == b"event":
            type_ = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit():
            retry_ms = int(value)
    if not data:
        return Block(Kind.NOTHING, retry_ms=retry_ms)
    if type_ == AT:
        kind = Kind.NOTHING if id_ is None else Kind.CHECKPOINT
        return Block(kind, id_, retry_ms=retry_ms)
    joined = b"\n".join(data)
    kind = _KINDS.get(type_, Kind.VALUE if id_ is None else Kind.EVENT)
    if kind is not Kind.EVENT:
        text = joined.decode("utf-8", "replace")
        return Block(kind, id_, type_ or "message", "", retry_ms, text)
    return Block(Kind.EVENT, id_, type_ or "message", digest_of(joined), retry_ms)


class Unchunker:
    """Takes HTTP/1.1's chunked coding apart (RFC 9112, section 7.1)."""

    __slots__ = ("_left", "_rest", "ended")

    def __init__(self) -> None:
        self._rest = b""
        self._left = 0  # of the chunk that is being read, its CRLF included
        self.ended = False

    def feed(self, piece: bytes) -> bytes:
        """Take bytes, and return what was in the chunks.

        Raises:
            ValueError: these are no chunks.
        """
        data = self._rest + piece if self._rest else piece
        found, at = [], 0
        while not self.ended:
            if self._left:
                taken = data[at : at + self._left]
                at += len(taken)
                self._left -= len(taken)
                if self._left:
                    # The CRLF, or a part of it, is still to come.
                    found.append(taken[: len(taken) - max(0, 2 - self._left)])
                    break
                found.append(taken[:-2] if len(taken) > 1 else b"")
            end = data.find(b"\r\n", at)
            if end < 0:
                break
            size = int(data[at:end], 16)
            at = end + 2
            self.ended = not size
            self._left = size + 2
        self._rest = data[at:]
        return b"".join(found) if len(found) != 1 else found[0]
