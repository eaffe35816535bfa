"""Finds the event stream at a path: that of a channel, or `/v1/events`."""

from __future__ import annotations

from collections.abc import Mapping

from broadcaster.core.channel import KEY_IN_PATH
from broadcaster.web import endpoint


class Paths:
    """Finds the event stream at a path.

    The path is split before it is decoded, so a key may contain a slash, sent as `%2F`.
    """

    def __init__(self, streams: Mapping[str, endpoint.EventStream]) -> None:
        self._plain: dict[tuple[str, ...], endpoint.EventStream] = {}
        self._with_key: list[tuple[list[str], int, endpoint.EventStream]] = []
        for path, stream in streams.items():
            parts = path.split("/")[1:]
            if KEY_IN_PATH in path:
                at = next(n for n, part in enumerate(parts) if KEY_IN_PATH in part)
                self._with_key.append((parts, at, stream))
            else:
                self._plain[tuple(parts)] = stream

    def find(self, segments: list[str]) -> tuple[endpoint.EventStream, str | None] | None:
        """Return the event stream at a path, and the key in it; None if there is none.

        A slash at the end of the path is ignored.
        """
        return self._at(segments) or (self._at(segments[:-1]) if segments[-1:] == [""] else None)

    def _at(self, segments: list[str]) -> tuple[endpoint.EventStream, str | None] | None:
        if found := self._plain.get(tuple(segments)):
            return found, None
        for parts, at, stream in self._with_key:
            if len(parts) == len(segments):
                key = _between(segments[at], *parts[at].split(KEY_IN_PATH))
                if key and segments[:at] == parts[:at] and segments[at + 1 :] == parts[at + 1 :]:
                    return stream, key
        return None


def _between(segment: str, before: str, after: str) -> str:
    """Return the key in a segment; empty if there is none."""
    if segment.startswith(before) and segment.endswith(after):
        return segment[len(before) : len(segment) - len(after)]
    return ""
