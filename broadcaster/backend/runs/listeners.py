"""Counts the clients that follow the runs of a worker, over all nodes. Part of `backend`.

Each node writes its counts into its line in the registry, so no client costs a command. The numbers
are some seconds old.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from broadcaster.backend.driver.connect import AsyncClient
from broadcaster.backend.nodes import ANNOUNCE_S, NodesHash
from broadcaster.errors import BroadcasterError

FOLLOWED = "runs"
"""The field of a node's line that has the number of followers of each run."""


class Listened(Protocol):
    """A run, as a `Run` is one."""

    id: str
    listeners: int | None


class Listeners:
    """Reads the lines of the nodes, and tells runs how many clients follow them."""

    def __init__(self, client: AsyncClient, nodes_key: str, now_ms: Callable[[], int]) -> None:
        """Store the arguments. Nothing is read yet.

        Args:
            client: has no retries.
            nodes_key: the key of the hash of nodes, as in their settings.
            now_ms: returns milliseconds since 1970, by a clock that all nodes share.
        """
        self._nodes = NodesHash(client, nodes_key, "", now_ms)
        self._looked_s = float("-inf")

    async def tell(self, runs: Sequence[Listened]) -> None:
        """Tell runs how many clients follow them, unless that was done in the last 3 s.

        Without runs, nothing is read.

        They are told None while the lines can't be read, or no node announces itself.
        """
        if not runs or time.monotonic() < self._looked_s + ANNOUNCE_S:
            return
        self._looked_s = time.monotonic()
        try:
            lines = [line.get(FOLLOWED, {}) for line in (await self._nodes.nodes()).values()]
        except BroadcasterError:
            lines = []
        for run in runs:
            run.listeners = sum(line.get(run.id, 0) for line in lines) if lines else None
