"""Keeps the figures of each node, now and in the last ten minutes, for the operators' page.

A node looks at its own figures each second. Those of the other nodes are from the registry, where
each node writes them every 3 s. So a look costs Redis nothing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol

import orjson

from broadcaster.web.ticks import tick

LOOK_S = 1.0
KEPT_S = 600.0
_KEPT_EACH_S = 5.0
_CHARTS = ("clients", "deliveries_per_s", "lag_ms")

Figures = Mapping[str, Mapping[str, Any]]


class Waking(Protocol):
    """A response that sends each look."""

    def wake(self) -> None:
        """Let it send the newest look."""


class NodeFigures(Protocol):
    """Knows the figures of all nodes."""

    def own_name(self, *, details: bool) -> str:
        """Return the name of this node."""

    def figures(self, *, details: bool) -> Figures:
        """Return the figures of each node, by its name."""


class Lookout:
    """Looks at the figures, keeps them for ten minutes, and wakes those that watch.

    Attributes:
        viewers: the responses that are woken at each look.
    """

    def __init__(self, nodes: NodeFigures) -> None:
        self.viewers: set[Waking] = set()
        self._nodes = nodes
        self._kept: dict[bool, deque[dict[str, Any]]] = {
            details: deque(maxlen=int(KEPT_S / _KEPT_EACH_S)) for details in (False, True)
        }
        self._newest: dict[bool, bytes] = {}
        self._kept_s = float("-inf")

    async def watch(self) -> None:
        """Look each second, until cancelled."""
        while True:
            self.look(time.monotonic(), time.time())
            await tick(LOOK_S)

    def look(self, now_s: float, time_s: float) -> None:
        """Look at the figures.

        Args:
            now_s: by the monotonic clock.
            time_s: since 1970.
        """
        keep = now_s - self._kept_s >= _KEPT_EACH_S
        for details, kept in self._kept.items():
            figures = self._nodes.figures(details=details)
            look = {
                "at_ms": round(time_s * 1000),
                "node": self._nodes.own_name(details=details),
                "nodes": figures,
            }
            self._newest[details] = _event("operations", look)
            if keep:
                kept.append({"at_ms": look["at_ms"], "nodes": _charted(figures)})
        self._kept_s = now_s if keep else self._kept_s
        self.wake()

    def wake(self) -> None:
        """Wake those that watch: there is something new, or the node ends its responses."""
        for viewer in tuple(self.viewers):
            viewer.wake()

    def newest(self, *, details: bool) -> bytes:
        """Return the newest look as an event; empty before the first one."""
        return self._newest.get(details, b"")

    def history(self, *, details: bool) -> bytes:
        """Return what is kept, as one event."""
        return _event("history", list(self._kept[details]))


def _charted(figures: Figures) -> dict[str, list[Any]]:
    return {name: [each.get(chart, 0) for chart in _CHARTS] for name, each in figures.items()}


def _event(type_: str, data: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (type_.encode(), orjson.dumps(data))
