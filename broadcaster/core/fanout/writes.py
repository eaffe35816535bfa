"""One round of writes: the bytes of a batch to the live subscribers that want them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from broadcaster.core.fanout.audience import Audience
from broadcaster.core.fanout.subscriber import Framing, State, Subscriber
from broadcaster.core.resume.page import Pages
from broadcaster.core.sse import Frame

SLICE = 500
"""The writes of one slice. After each slice the event loop runs other tasks."""

Delivery: TypeAlias = tuple[tuple[Subscriber, ...], Framing, bytes, int, bool]
"""Subscribers, their framing, the bytes for each of them, the number of events in these, and True
if the responses end with them."""


def deliveries(
    concerned: Mapping[Audience, list[Frame]], stream: str, pages: Pages
) -> tuple[list[Delivery], list[Subscriber]]:
    """Join a batch once for each audience.

    Args:
        concerned: the frames that the keys of each audience admit.
        stream: the name of their stream.
        pages: joins them.

    Returns:
        The deliveries, and the subscribers that can't be written to: they have to catch up.
    """
    found, pulled = list[Delivery](), list[Subscriber]()
    for audience, frames in concerned.items():
        selected, ends = frames, False
        if audience.selective:
            try:
                selected, ends = audience.subscription.select(frames)
            except Exception:  # of a user's filter: its subscribers meet it in a step of their own
                pulled += (*audience.pushing, *audience.pulling)
                continue
        if not selected:
            continue
        selected = pages.ended(selected) if ends else selected
        pulled += audience.pulling
        if audience.pushing:
            if audience.plain:  # as `joined`, without looking after the positions
                data = b"".join([frame.wire for frame in selected])
            else:
                data = pages.joined(audience.subscription, stream, selected)
            members = tuple(audience.pushing)
            found.append((members, audience.framing, data, len(selected), ends))
    return found, pulled


@dataclass(slots=True)
class Round:
    """One round of writes, and its counts. It ends no response: the hub does that afterwards.

    Attributes:
        tick: the hub's clock. A subscriber with this tick has the batch already.
        events: the written events, each counted once per subscriber.
        bytes: their bytes, without framing.
        over: subscribers that have got the last event of their response.
    """

    tick: int
    events: int = 0
    bytes: int = 0
    over: list[Subscriber] = field(default_factory=list)

    def write(self, deliveries: Iterable[Delivery]) -> Iterator[None]:
        """Write to each subscriber that is still live.

        Args:
            deliveries: all of the round; they must not change after the first write.

        Yields:
            Between slices, so that the caller can let others run.
        """
        # This is the hot loop. For each subscriber it does two look-ups, sets one attribute, and
        # makes one write, which is the kernel's send. It allocates nothing. A subscriber may lag,
        # catch up and rejoin between two slices; its `tick` keeps it from getting the batch twice.
        # Small audiences share a slice, since a turn of the event loop costs as much as a send.
        tick, live, written = self.tick, State.LIVE, 0
        for subscribers, framing, data, events, ends in deliveries:
            framed = framing(data)
            for start in range(0, len(subscribers), SLICE):
                served = 0
                for subscriber in subscribers[start : start + SLICE]:
                    if subscriber.tick != tick and subscriber.state is live:
                        subscriber.tick = tick
                        subscriber.write(framed)
                        served += 1
                self.events += served * events
                self.bytes += served * len(data)
                written += min(SLICE, len(subscribers) - start)
                if written >= SLICE:
                    written = 0
                    yield
            if ends:  # a subscriber with another tick is lagging: it gets the last event later
                self.over += [s for s in subscribers if s.tick == tick]
