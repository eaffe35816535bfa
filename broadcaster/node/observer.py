"""What a node notices about itself and tells: figures, who is there, whether its clock is right.

It decides nothing, and nothing depends on it: without it clients would get the same bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from socket import gethostname
from typing import Any

from broadcaster.backend.driver.connect import AsyncClient
from broadcaster.backend.roster import ANNOUNCE_S, Roster
from broadcaster.backend.stream import Info
from broadcaster.core.event import CLOCK_TOLERANCE_S
from broadcaster.core.sse import Frame
from broadcaster.errors import BackendUnavailableError, BroadcasterError, ConfigurationError
from broadcaster.node import metrics as exposition
from broadcaster.node.metrics import Measured
from broadcaster.node.peers import Peers

logger = logging.getLogger(__name__)

_COUNT_S = 1.0
_LOOP_TICK_S = 0.05

Work = Callable[[], Awaitable[None]]


class Observer:
    """Watches one node.

    Attributes:
        peers: the processes that share the port with this one.
        write_lag_ms: from the id of the newest event, Redis's clock, until all had been written.
    """

    def __init__(self, node: Measured) -> None:
        self.peers = Peers()
        self.write_lag_ms = 0.0
        self._node = node
        self._roster: Roster | None = None
        self._ahead: set[str] = set()  # streams whose newest id is in the future

    def works(self, client: AsyncClient) -> Iterator[Work]:
        """What has to be run, until cancelled; `client` writes to the nodes' hash."""
        yield self._watch_loop
        yield partial(self.peers.serve, self._own_metrics)
        if self._node.settings.nodes_key:
            self._roster = Roster(client, self._node.settings.nodes_key, self.name)
            yield partial(self._announce, self._roster)

    async def aclose(self) -> None:
        """Be no longer among the nodes."""
        if self._roster:
            with contextlib.suppress(BroadcasterError):
                await self._roster.leave()

    # Time

    def measure(self, stream: str, frames: Sequence[Frame]) -> None:
        """Note how old events are that have just been written."""
        now_ms = time.time() * 1000
        observe = self._node.meters.write_latency_s[stream].observe
        # Events that come together share their milliseconds.
        for ms, times in Counter([frame.id.ms for frame in frames]).items():
            self.write_lag_ms = max(0.0, now_ms - ms)
            observe(self.write_lag_ms / 1000, times)

    def look_at_clock(self, stream: str) -> None:
        """Say once that a stream's newest id has got ahead of the clock, or is no longer."""
        head = self._node.hub.windows[stream].head
        ahead_s = head.ms / 1000 - time.time()
        if (ahead_s > CLOCK_TOLERANCE_S) == (stream in self._ahead):
            return
        if ahead_s > CLOCK_TOLERANCE_S:
            self._ahead.add(stream)
            logger.warning(
                "stream %r: the id %s is %.0f s in the future. Somebody gave it, or Redis's clock "
                "is wrong; all ids after it are in the future as well, and no time can be found",
                stream,
                head,
                ahead_s,
            )
        else:
            self._ahead.remove(stream)
            logger.warning("stream %r: its ids are in step with the clock again", stream)

    async def _watch_loop(self) -> None:
        while True:
            due_s = time.monotonic() + _LOOP_TICK_S
            await asyncio.sleep(_LOOP_TICK_S)
            self._node.meters.loop_lag_s.observe(max(0.0, time.monotonic() - due_s))

    # Who is there

    @property
    def name(self) -> str:
        """Of this process, among all nodes that use the same Redis."""
        settings = self._node.settings
        name = settings.node_name or f"{gethostname()}:{settings.port or os.getpid()}"
        return f"{name}/{self.peers.process}"

    async def nodes(self) -> dict[str, Any]:
        """Who is there: what each node last said about itself, and why it may not be all."""
        missing = "nodes_key is not set"
        if self._roster:
            try:
                return {"nodes": {**await self._roster.nodes(), self.name: self._about()}}
            except BroadcasterError as error:
                logger.debug("only this node is known: %s", error)
                missing = "Redis is away, or gives no rights to the nodes' hash"
        return {"nodes": {self.name: self._about()}, "incomplete": missing}

    def _about(self) -> dict[str, Any]:
        lags = (tailer.lag_s for tailer in self._node.tailers.values())
        return {
            "clients": len(self._node.hub.subscribers),
            "lag_s": round(max(lags, default=0.0), 3),
            "problems": self._node.problems(),
            "version": exposition.VERSION,
        }

    async def _announce(self, roster: Roster) -> None:
        while True:
            await asyncio.sleep(ANNOUNCE_S)
            try:
                await roster.announce(self._about())
            except BackendUnavailableError as error:
                logger.debug("this node is not announced for now: %s", error)
            except ConfigurationError as error:
                logger.info("this node is not announced, only /v1/nodes misses it: %s", error)
                return

    # Figures

    async def metrics(self) -> bytes:
        """The figures of this process and of its peers, for Prometheus."""
        return exposition.together(await self.peers.gather(self._own_metrics))

    async def _own_metrics(self) -> bytes:
        infos: dict[str, Info] = {}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_COUNT_S):
                for stream in self._node.tailers:
                    with contextlib.suppress(BroadcasterError):
                        infos[stream] = await self._node.replayer.info(stream)
        return exposition.own(self._node, infos)
