"""One round of writes: the bytes of a batch to the live subscribers that want them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from broadcaster.core.subscriber import Framing, State, Subscriber

SLICE = 500
"""Writes after which others get a turn."""

Delivery: TypeAlias = tuple[tuple[Subscriber, ...], bytes, int, bool]
"""Who gets which bytes, how many events that is, and whether their responses end with it."""


class Round:
    """Writes, and counts what it has written. It ends no response.

    Attributes:
        events: written, each counted once per subscriber.
        bytes: of these events.
        over: subscribers that were written the last event of their response.
    """

    __slots__ = ("_tick", "bytes", "events", "over")

    def __init__(self, tick: int) -> None:
        """Begin.

        Args:
            tick: the hub's clock. A subscriber with this tick has the batch already.
        """
        self._tick = tick
        self.events = 0
        self.bytes = 0
        self.over: list[Subscriber] = []

    def write(self, deliveries: Iterable[Delivery], framings: Iterable[Framing]) -> Iterator[None]:
        """Write to each subscriber that is still live.

        Args:
            deliveries: fixed before the first write.
            framings: of all subscribers.

        Yields:
            Between slices, so that the caller can let others run.
        """
        # The loop of this program: per subscriber two look-ups, one attribute, one write, which is
        # the kernel's send; nothing is allocated. `tick` keeps a subscriber that lagged, caught up
        # and rejoined between two slices from getting the batch twice. Many audiences of few, as
        # with a key for each, share a slice: a turn of the event loop costs as much as a send.
        tick, live, written = self._tick, State.LIVE, 0
        for subscribers, data, events, ends in deliveries:
            framed = {}
            for framing in framings:
                framed[framing] = framing(data)
            for start in range(0, len(subscribers), SLICE):
                served = 0
                for subscriber in subscribers[start : start + SLICE]:
                    if subscriber.tick != tick and subscriber.state is live:
                        subscriber.tick = tick
                        subscriber.write(framed[subscriber.framing])
                        served += 1
                self.events += served * events
                self.bytes += served * len(data)
                written += min(SLICE, len(subscribers) - start)
                if written >= SLICE:
                    written = 0
                    yield
            if ends:  # a subscriber with another tick lags, and has still to get the last event
                self.over += [s for s in subscribers if s.tick == tick]
