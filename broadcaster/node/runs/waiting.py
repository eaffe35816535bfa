"""Sends `stream.waiting` to the clients of a node whose run no worker has."""

from __future__ import annotations

import time
from collections.abc import Sequence

from broadcaster.core.channel import Channel
from broadcaster.core.event import EventId
from broadcaster.core.fanout.heartbeat import waiting
from broadcaster.core.fanout.hub import Hub
from broadcaster.core.fanout.subscriber import State
from broadcaster.core.runs.silent import SilentRuns, Waiting


def tell(hub: Hub, run: EventId, told: Waiting) -> None:
    """Send `stream.waiting` to the followers of a run, if it has waited for long enough.

    Followers that are still sent the past, or do not read, get it at a later call.
    """
    if not told.worth_telling:
        return
    for subscriber in hub.subscribers.of_run(run):
        if subscriber.state is State.LIVE and not subscriber.blocked:
            data = waiting(subscriber, hub.proven(subscriber), told)
            subscriber.write(subscriber.framing(data))


class Followed:
    """The runs of one channel that clients of this node follow, and perhaps no worker has."""

    def __init__(self, hub: Hub, channel: Channel) -> None:
        """Begin without runs.

        Args:
            hub: has the followers.
            channel: that is made on demand.
        """
        self._hub = hub
        (self._stream,) = channel.streams
        self._silent = SilentRuns()

    def to_look_at(self, abandoned: Sequence[EventId]) -> list[EventId]:
        """Return the runs of which it should be asked now whether a worker has them.

        Args:
            abandoned: runs whose worker is gone. They count also if they have events.
        """
        left, followers = set(abandoned), dict[EventId, int]()
        window = self._hub.windows[self._stream]
        for run in self._hub.subscribers.runs:
            of_run = self._hub.subscribers.of_run(run)
            subscription = of_run[0].subscription
            if self._stream not in subscription.streams:
                continue
            (key,) = subscription.keys
            if run in left or not window.has(key):
                followers[run] = len(of_run)
        return self._silent.due(time.monotonic(), followers)
