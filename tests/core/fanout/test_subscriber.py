"""A hub's subscribers can be found by the time at which their grants end."""

from __future__ import annotations

from broadcaster.core.access.grants import Holder
from broadcaster.core.fanout.subscriber import Subscriber, Subscribers
from broadcaster.core.subscription import Subscription

A = Subscription(("a",))


def subscriber(holder: Holder | None) -> Subscriber:
    return Subscriber(A, lambda _: None, lambda: None, pushed=True, holder=holder)


def test_only_those_whose_grants_end_expire() -> None:
    found = Subscribers()
    ending, gone = subscriber(Holder("a", 100.0)), subscriber(Holder("b", 100.0))
    for one in (ending, gone, subscriber(Holder("c", None)), subscriber(None)):
        found.add(one)
    found.discard(gone)
    assert found.expiries.due(99.0) == []
    assert found.expiries.due(101.0) == [ending]
    assert found.expiries.due(1e9) == []
    assert len(found) == 3
