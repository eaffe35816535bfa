"""Groups the live subscribers that get the same bytes, as they have equal subscriptions. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from broadcaster.core.fanout.subscriber import Framing, Subscriber
from broadcaster.core.sse import Frame
from broadcaster.core.subscription import Subscription


class Audience:
    """The live subscribers that share a subscription: a batch is joined and framed once for all.

    Where each client has a key of its own, there are as many audiences as clients, and most of
    them are not in the processor's caches. So `plain` and `selective`, which each event needs, are
    copied here from the subscription.

    Attributes:
        subscription: the one that all members have.
        framing: the one that all members have.
        plain: as in `Subscription`.
        selective: as in `Subscription`.
        pushing: members that the hub writes to.
        pulling: members that the hub only wakes.
    """

    __slots__ = ("framing", "plain", "pulling", "pushing", "selective", "subscription")

    def __init__(self, subscription: Subscription, framing: Framing) -> None:
        self.subscription = subscription
        self.framing = framing
        self.plain = subscription.plain
        self.selective = subscription.selective
        self.pushing: set[Subscriber] = set()
        self.pulling: set[Subscriber] = set()

    def members(self, subscriber: Subscriber) -> set[Subscriber]:
        """Return the set that a subscriber of this audience belongs to."""
        return self.pushing if subscriber.pushed else self.pulling


class Audiences:
    """All audiences of a node, found by stream and key. An audience without members is removed.

    Attributes:
        subscribers: the number of subscribers in all audiences. It is counted as they come and go,
            because a node looks at it each second, and may have as many audiences as clients.
    """

    def __init__(self, streams: Iterable[str]) -> None:
        self.subscribers = 0
        self._all: dict[Framing, dict[Subscription, Audience]] = {}
        self._whole: dict[str, set[Audience]] = {name: set() for name in streams}
        self._by_key: dict[str, dict[str, set[Audience]]] = {name: {} for name in self._whole}

    def __len__(self) -> int:
        return sum(map(len, self._all.values()))

    def join(self, subscriber: Subscriber) -> None:
        """Add a subscriber that has become live."""
        subscription, framing = subscriber.subscription, subscriber.framing
        alike = self._all.setdefault(framing, {})
        audience = alike.get(subscription)
        if audience is None:
            audience = alike[subscription] = Audience(subscription, framing)
            for name, keys in zip(subscription.streams, subscription.keys_of, strict=True):
                for key in keys:
                    self._by_key[name].setdefault(key, set()).add(audience)
                if not keys:
                    self._whole[name].add(audience)
        audience.members(subscriber).add(subscriber)
        self.subscribers += 1

    def leave(self, subscriber: Subscriber) -> None:
        """Remove a subscriber that is no longer live.

        Raises:
            KeyError: it is in no audience.
        """
        subscription, alike = subscriber.subscription, self._all[subscriber.framing]
        audience = alike[subscription]
        audience.members(subscriber).remove(subscriber)
        self.subscribers -= 1
        if audience.pushing or audience.pulling:
            return
        del alike[subscription]
        for name, keys in zip(subscription.streams, subscription.keys_of, strict=True):
            self._whole[name].discard(audience)
            for key in keys:
                self._by_key[name][key].discard(audience)
                if not self._by_key[name][key]:
                    del self._by_key[name][key]

    def concerned(self, stream: str, frames: list[Frame]) -> dict[Audience, list[Frame]]:
        """Find the audiences that may want frames of a stream.

        Args:
            stream: its name.
            frames: a batch, in order.

        Returns:
            For each audience, the frames that its keys admit, in order. The rest of its filter is
            not applied yet.
        """
        found = dict.fromkeys(self._whole[stream], frames)
        if by_key := self._by_key[stream]:
            for frame in frames:
                for audience in by_key.get(frame.key, ()):
                    found.setdefault(audience, []).append(frame)
        return found
