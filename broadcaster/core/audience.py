"""Who is live, by what they want: subscribers with equal subscriptions get the same bytes. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from broadcaster.core.sse import Frame
from broadcaster.core.subscriber import Subscriber
from broadcaster.core.subscription import Subscription


class Audience:
    """The live subscribers of one subscription: what is joined for one is written to all.

    With a key for each client there are as many of these as clients, in memory that the processor
    has not seen for long. So what each event asks of the subscription is kept here.
    """

    __slots__ = ("named", "pulling", "pushing", "selective", "subscription")

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self.named = subscription.named
        self.selective = subscription.selective
        self.pushing: set[Subscriber] = set()
        self.pulling: set[Subscriber] = set()

    def members(self, subscriber: Subscriber) -> set[Subscriber]:
        """The set that this subscriber belongs to."""
        return self.pushing if subscriber.pushed else self.pulling


class Audiences:
    """All audiences of a node, found by stream and key. There is none without a subscriber."""

    def __init__(self, streams: Iterable[str]) -> None:
        self._all: dict[Subscription, Audience] = {}
        self._whole: dict[str, set[Audience]] = {name: set() for name in streams}
        self._by_key: dict[str, dict[str, set[Audience]]] = {name: {} for name in self._whole}

    def __len__(self) -> int:
        return len(self._all)

    @property
    def subscribers(self) -> int:
        """How many there are in all of them."""
        return sum(len(a.pushing) + len(a.pulling) for a in self._all.values())

    def join(self, subscriber: Subscriber) -> None:
        """Take in a subscriber that has become live."""
        subscription = subscriber.subscription
        audience = self._all.get(subscription)
        if audience is None:
            audience = self._all[subscription] = Audience(subscription)
            for name in subscription.streams:
                for key in subscription.keys:
                    self._by_key[name].setdefault(key, set()).add(audience)
                if not subscription.keys:
                    self._whole[name].add(audience)
        audience.members(subscriber).add(subscriber)

    def leave(self, subscriber: Subscriber) -> None:
        """Forget a subscriber that is live no more."""
        subscription = subscriber.subscription
        audience = self._all[subscription]
        audience.members(subscriber).discard(subscriber)
        if audience.pushing or audience.pulling:
            return
        del self._all[subscription]
        for name in subscription.streams:
            self._whole[name].discard(audience)
            for key in subscription.keys:
                self._by_key[name][key].discard(audience)
                if not self._by_key[name][key]:
                    del self._by_key[name][key]

    def concerned(self, stream: str, frames: list[Frame]) -> dict[Audience, list[Frame]]:
        """Who may want frames of a stream, and which, by their keys."""
        found = dict.fromkeys(self._whole[stream], frames)
        if by_key := self._by_key[stream]:
            for frame in frames:
                for audience in by_key.get(frame.key, ()):
                    found.setdefault(audience, []).append(frame)
        return found
