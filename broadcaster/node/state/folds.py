"""Loads the states of a node's streams: at the start, and again after each break of their logs.

Each state is loaded while the stream is tailed, one checkpoint at a time. Clients cause no reads,
except for the keys that they name of a state that is too large for a node's memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial

from broadcaster.backend.checkpoints.checkpoint import NOTHING, Found
from broadcaster.backend.checkpoints.moving import Moving
from broadcaster.backend.driver.connect import AsyncClient
from broadcaster.backend.log import Log, RedisLog
from broadcaster.core.channel import Channel
from broadcaster.core.fanout.hub import Hub
from broadcaster.core.fanout.turns import Reader
from broadcaster.core.history.window import Window
from broadcaster.core.log import KeyState, StateOf
from broadcaster.core.state.checkpoint import named
from broadcaster.core.state.fold import Fold
from broadcaster.node.pump import despite_errors
from broadcaster.node.state.folder import folded
from broadcaster.node.state.restoring import Restoring


def hub_of(channels: Iterable[Channel], terminal_retry_ms: int) -> Hub:
    """Return a hub with an empty window for each stream, and the rules of those with a state."""
    every = tuple(channels)
    windows = {
        stream: Window(channel.window_events, channel.window_bytes)
        for channel in every
        for stream in channel.streams
    }
    return Hub(windows, terminal_retry_ms, {one.name: one.rules for one in folded(every)})


class Folds:
    """Makes the folds of a node.

    Attributes:
        restoring: by the name of the stream, for those of channels with a state.
    """

    def __init__(
        self,
        channels: Iterable[Channel],
        windows: Mapping[str, Window],
        log: Log,
        adopt: Callable[[str, Fold], object],
    ) -> None:
        """Name the streams. Nothing is read before `run`.

        Args:
            channels: of the node.
            windows: of all streams.
            log: has the streams.
            adopt: gets the name of a stream and its new fold, which is that of the window's head.
        """
        self._log = log
        self._checkpoints: dict[str, Moving] = {}
        self._turn = asyncio.Lock()
        self._streams = folded(channels)
        self.restoring = {
            stream: Restoring(
                stream,
                rules,
                log,
                windows[stream],
                partial(self._read, stream),
                partial(_adopted, adopt, stream),
            )
            for stream, _, rules, _ in self._streams
        }

    def use(self, client: AsyncClient, max_event_bytes: int) -> None:
        """Read checkpoints from now on. Without them, a state is that of what the log retains.

        Args:
            client: used for nothing else. The caller closes it.
            max_event_bytes: larger events are skipped.
        """
        for stream, redis_key, rules, shards in self._streams:
            self._checkpoints[stream] = Moving(
                client, redis_key, rules, shards, max_event_bytes=max_event_bytes
            )

    async def _read(self, stream: str) -> Found:
        checkpoint = self._checkpoints.get(stream)
        if checkpoint is None:
            return NOTHING
        async with self._turn:
            return await checkpoint.read()

    async def ask(self, stream: str, question: StateOf, reader: Reader | None) -> KeyState | None:
        """Return the state of some keys of a stream; None if there are no checkpoints.

        Args:
            stream: one that has a state.
            question: names the keys.
            reader: the client that asks.

        Raises:
            BackendUnavailableError, ConfigurationError: as for `Log.ask`.
        """
        if not isinstance(self._log, RedisLog) or stream not in self._checkpoints:
            return None
        (of,) = (one for one in self._streams if one.name == stream)
        full = StateOf(question.keys, named(of.rules), of.shards)
        return await self._log.state_of(stream, full, reader)

    def checkpoints(self) -> dict[str, Callable[[], Awaitable[KeyState | None]]]:
        """Return functions that ask how far the checkpoint of each stream goes, for the metrics.

        Returns:
            A function per stream. It returns None for a checkpoint that can't be used, and raises
            as `ask` does. Without Redis there are no streams.
        """
        about = StateOf(frozenset())
        return {stream: partial(self.ask, stream, about, None) for stream in self._checkpoints}

    def broken(self, stream: str) -> None:
        """Load the state of a stream, if it has one: its log has begun, or is another one."""
        if stream in self.restoring:
            self.restoring[stream].broken()

    async def run(self) -> None:
        """Load states when they are needed, until cancelled."""
        await asyncio.gather(*(despite_errors(one.run) for one in self.restoring.values()))


def _adopted(adopt: Callable[[str, Fold], object], stream: str, fold: Fold, _: Found) -> None:
    adopt(stream, fold)
