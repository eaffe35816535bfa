"""The figures of one node that the page shows to operators, and that other nodes can read."""

from __future__ import annotations

from collections import deque
from typing import Any

from broadcaster.node.health import Watched

_APART_S = 0.5
_LOOKS = 4


class Rate:
    """The growth of a counter per second, over about three seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque(maxlen=_LOOKS)

    def of(self, count: int, now_s: float) -> float:
        """Take a value of the counter, and return its growth per second."""
        if not self._seen or now_s - self._seen[-1][0] >= _APART_S:
            self._seen.append((now_s, count))
        then_s, before = self._seen[0]
        return (count - before) / (now_s - then_s) if now_s > then_s else 0.0


def own_figures(node: Watched, deliveries_per_s: float) -> dict[str, Any]:
    """Return the figures of one node.

    Args:
        node: this one.
        deliveries_per_s: events that it writes to clients in a second.
    """
    clients, meters = len(node.hub.subscribers), node.meters
    behind_s = max((node.log.status(name).lag_s for name in node.hub.windows), default=0.0)
    reached = {**meters.shed, **meters.exceeded, **meters.refused, "slowed": node.limits.slowed}
    return {
        "clients": clients,
        "lagging": clients - node.hub.live,
        "deliveries_per_s": round(deliveries_per_s, 1),
        "lag_ms": round(behind_s * 1000 or node.health.write_lag_ms, 1),
        "resumes": {str(outcome): count for outcome, count in node.hub.resumes.items()},
        "limits": {str(limit): count for limit, count in reached.items() if count},
    }
