"""Filters: they select the events that a subscription gets of its streams. Pure.

A filter is a value: it can be hashed, and equal filters admit the same events. Subscribers with
equal subscriptions share an audience, and a filter is asked once per frame and audience.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Protocol

from broadcaster.core.sse import Frame

# Shared by all subscriptions that filter nothing, because each empty set takes 216 bytes.
NONE: frozenset[str] = frozenset()


class Filter(Protocol):
    """Decides about one frame at a time. Derive from it, and write `admits` at least.

    It must be hashable, for instance a frozen dataclass, and its answers must never change. A
    filter of a subscription with terminal types must admit the events of these types.
    """

    __slots__ = ()

    @property
    def keys(self) -> frozenset[str]:
        """Return the only keys that its events have; none means any.

        Windows and audiences are indexed by key, so events of other keys cost nothing.
        """
        return NONE

    @property
    def everything(self) -> bool:
        """Return True if it admits all events. Otherwise heartbeats carry the position."""
        return False

    @property
    def exact(self) -> bool:
        """Return True if it admits all events with one of its keys. Then `admits` is not called."""
        return False

    def admits(self, frame: Frame) -> bool:
        """Return True if this event is to be sent. `Frame.data` has the event's data."""
        ...

    def with_key(self, key: str) -> Filter:
        """Return the same filter for the events of one key, which replaces its own keys."""
        return Restricted(self, KeysAndTypes.of([key]))

    def select(self, frames: list[Frame]) -> list[Frame]:
        """Return the admitted frames, in order. All given frames have one of the filter's keys."""
        return [frame for frame in frames if self.admits(frame)]


@dataclass(frozen=True, slots=True)
class KeysAndTypes(Filter):
    """The filter that a request's query can ask for.

    Attributes:
        keys: only events with one of these keys; none means all.
        types: only events of these types; none means all.
    """

    keys: frozenset[str] = NONE
    types: frozenset[str] = NONE

    @classmethod
    def of(cls, keys: Collection[str] = (), types: Collection[str] = ()) -> KeysAndTypes:
        """Return the filter for these keys and types; the shared `ALL` if there are none."""
        if keys or types:
            return cls(frozenset(keys) or NONE, frozenset(types) or NONE)
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

    def with_key(self, key: str) -> KeysAndTypes:
        return KeysAndTypes.of([key], self.types)


@dataclass(frozen=True, slots=True)
class Restricted(Filter):
    """A filter of a user's own, within what the query can ask for.

    Attributes:
        filter: the user's. Its keys are those of `within` already.
        within: keys and types.
        always: types that `filter` is not asked about: without a terminal event a client would come
            back for ever.
    """

    filter: Filter
    within: KeysAndTypes
    always: frozenset[str] = NONE

    @property
    def keys(self) -> frozenset[str]:
        return self.within.keys

    def admits(self, frame: Frame) -> bool:
        return self.within.admits(frame) and (
            frame.type in self.always or self.filter.admits(frame)
        )

    def with_key(self, key: str) -> Restricted:
        return replace(self, within=self.within.with_key(key))


ALL = KeysAndTypes()
"""The filter that admits all events."""
