"""What a client asks for."""

from __future__ import annotations

from broadcaster.core.channel import Channel
from broadcaster.core.subscription import Subscription
from broadcaster.core.wanted import Wanted
from broadcaster.core.wire import ResetReason
from tests.core.test_resume import at

MADE = Channel(name="a", path="/a", requests="a.requests")
PLAIN = Channel(name="b", path="/b")


def test_a_request_without_its_run_is_a_new_one_and_says_what_it_came_with() -> None:
    subscription = Subscription.to((MADE,), ("u",))
    wanted = Wanted((MADE,), subscription, {"a": at(5)}, at(3))
    anew = wanted.anew()
    assert anew == Wanted(
        (MADE,), subscription, unreadable="a=5-0,run=3-0", reason=ResetReason.GONE
    )


def test_only_a_channel_with_requests_is_made_on_demand() -> None:
    assert Wanted((MADE,), Subscription.to((MADE,), ("u",))).on_demand is MADE
    assert Wanted((PLAIN,), Subscription.to((PLAIN,))).on_demand is None
