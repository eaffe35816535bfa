"""Frames without their `event:` line, for clients that have only `onmessage`. Pure.

A node makes these bytes of an event only if a client wants them, and once for all live clients.
"""

from __future__ import annotations

from broadcaster.core.event import DEFAULT_TYPE, EventId
from broadcaster.core.sse import Frame


def without_type(frame: Frame) -> Frame:
    """Return a frame whose bytes do not name its type. Everything else stays the same."""
    if frame.type == DEFAULT_TYPE or not frame.wire:
        return frame
    start = frame.wire.index(b"\n") + 1
    end = frame.wire.index(b"\n", start) + 1
    return frame._replace(wire=frame.wire[:start] + frame.wire[end:])


class Untyped:
    """The frames of one batch without their types. Each is made when it is wanted first."""

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made: dict[EventId, Frame] = {}

    def forget(self) -> None:
        """Begin with another batch."""
        self._made.clear()

    def __call__(self, frame: Frame) -> Frame:
        """Return what `without_type` returns; for the same frame, the same object.

        Args:
            frame: one of the batch. All are of one stream, so that ids tell them apart.
        """
        made = self._made.get(frame.id)
        if made is None:
            made = self._made[frame.id] = without_type(frame)
        return made
