"""The state of a channel: the rules that fold its events, and the values that remain. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from broadcaster.core.event import EventId


class Rules(NamedTuple):
    """The rules by which the events of a channel become its state.

    Attributes:
        kind: how the events of a key are folded; see `core.state.folding`.
        removes: types that take their key out of the state.
        append: the field whose texts are joined; empty unless the kind is `append`.
        terminal: types after which a key is over.
        ttl_ms: milliseconds for which the state keeps a key that is over, and knows that a key was
            removed. They are counted by the times in ids.
        max_bytes: the most bytes of all values; 0 is no bound.
        coalesce: clients that lag far behind are sent the newest events only: see
            `core.state.passes`.
    """

    kind: Literal["last", "merge", "append"]
    removes: frozenset[str] = frozenset()
    append: str = ""
    terminal: frozenset[str] = frozenset()
    ttl_ms: int = 86_400_000
    max_bytes: int = 0
    coalesce: bool = False


NO_RULES: Mapping[str, Rules] = {}
"""The rules of streams that have no state."""


class Value(NamedTuple):
    """One event of a state.

    Attributes:
        id: of the newest event that is part of it.
        type: the SSE event name.
        key: the thing that the event is about; `""` means the whole channel.
        data: its text. Data of one event is as it was sent, with its lines joined by LF.
        lengths: how many characters each of its events has added, if texts were joined; else empty.
        removed: True for a key that was taken out. Such a value is never sent to a client.
    """

    id: EventId
    type: str
    key: str
    data: bytes
    lengths: tuple[int, ...] = ()
    removed: bool = False
