"""The state of a channel as JSON: for pages that are rendered on a server. Pure."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import orjson

from broadcaster.core.event import Event, StateFollows
from broadcaster.core.reading.logpage import event_as_json
from broadcaster.core.reading.reading import Yielded


class StateBody:
    """The events of a state, and what else a client has to know.

    Attributes:
        too_large: it has more bytes than it may have, so there is nothing of it.
    """

    def __init__(self) -> None:
        """Begin without a state."""
        self.too_large = False
        self._events = list[bytes]()
        self._since = dict[int | None, str]()

    @property
    def begun(self) -> bool:
        """Return True once the state has begun to come."""
        return bool(self._since)

    def add(self, value: Yielded) -> None:
        """Add what a subscriber is sent of a state. Other values add nothing."""
        if isinstance(value, Event):
            self._events.append(event_as_json(value))
        elif isinstance(value, StateFollows):
            if value.shard in self._since:  # it begins again, as the history has changed
                self._since.clear()
                self._events.clear()
                self.too_large = False
            self._since[value.shard] = value.since
            self.too_large = self.too_large or value.too_large

    def since(self, channel: str) -> str:
        """Return up to where events may be missing; empty if none is. It names several shards."""
        if None in self._since:
            return self._since[None]
        return ",".join(f"{channel}.{n}={at}" for n, at in sorted(self._since.items()) if at)

    def render(self, position: bytes, since: str, *, complete: bool) -> bytes:
        """Return the answer.

        Args:
            position: what comes after it is not part of the state.
            since: as above.
            complete: the last event of the only key is a terminal one, so nothing will follow.
        """
        head = {"position": position.decode(), "since": since or None, "complete": complete}
        return b'%b,"events":[%b]}' % (orjson.dumps(head)[:-1], b",".join(self._events))


def tag_of(position: bytes, since: str, rules: Any) -> str:
    """Return the entity tag of a state. Equal requests with equal tags have equal answers.

    Args:
        position: of the state.
        since: up to where events may be missing in it.
        rules: how the state is made.
    """
    told = repr((position, since, rules)).encode()
    return f'"{blake2b(told, digest_size=12).hexdigest()}"'
