"""Which events of its streams a subscription gets. Pure.

A filter is a value: it can be hashed, and equal filters admit the same events. Subscribers with
equal subscriptions share an audience, and a filter is asked once per frame and audience.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from broadcaster.core.sse import Frame

# One for all of the many that filter nothing: an empty set takes 216 bytes like any other.
_NONE: frozenset[str] = frozenset()


class Filter(Protocol):
    """Decides about one frame at a time. Derive from it, and write `admits` at least.

    It must be hashable, for instance a frozen dataclass, and its answers must never change. A
    filter of a subscription with terminal types must admit the events of these types.
    """

    __slots__ = ()

    @property
    def keys(self) -> frozenset[str]:
        """The only keys that its events have; none means any. Windows and audiences are indexed by
        key, so a filter with keys costs nothing for events of others."""
        return _NONE

    @property
    def everything(self) -> bool:
        """Whether it admits all events. If not, the client is told its position in heartbeats."""
        return False

    @property
    def exact(self) -> bool:
        """Whether it admits all events that have one of its keys, so that nothing need be asked."""
        return False

    def admits(self, frame: Frame) -> bool:
        """Whether this event is sent. `Frame.data` shows what it says."""
        ...

    def select(self, frames: list[Frame]) -> list[Frame]:
        """Those of the frames that are admitted. All of them have one of the filter's keys."""
        return [frame for frame in frames if self.admits(frame)]


@dataclass(frozen=True, slots=True)
class KeysAndTypes(Filter):
    """What the query can ask for.

    Attributes:
        keys: only events with one of these keys; none means all.
        types: only events of these types; none means all.
    """

    keys: frozenset[str] = _NONE
    types: frozenset[str] = _NONE

    @classmethod
    def of(cls, keys: Collection[str] = (), types: Collection[str] = ()) -> KeysAndTypes:
        """The filter for these keys and types; the same object each time if there are none."""
        if keys or types:
            return cls(frozenset(keys) or _NONE, frozenset(types) or _NONE)
        return ALL

    @property
    def everything(self) -> bool:
        return not self.keys and not self.types

    @property
    def exact(self) -> bool:
        return not self.types

    def admits(self, frame: Frame) -> bool:
        return (not self.keys or frame.key in self.keys) and (
            not self.types or frame.type in self.types
        )

    def select(self, frames: list[Frame]) -> list[Frame]:
        if not self.types:
            return frames
        return [frame for frame in frames if frame.type in self.types]


ALL = KeysAndTypes()
"""The filter that admits all events."""
