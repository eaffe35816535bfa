"""What a client asks for."""

from __future__ import annotations

from broadcaster.core.channel import Channel
from broadcaster.core.subscription import Subscription
from broadcaster.core.wanted import Wanted
from broadcaster.core.wire import ResetReason
from tests.core.resume.test_machine import at

MADE = Channel(name="a", path="/a", requests="a.requests")
PLAIN = Channel(name="b", path="/b")
OTHER = Channel(name="c", path="/c")


def test_a_request_without_its_run_is_a_new_one_and_says_what_it_came_with() -> None:
    subscription = Subscription.to((MADE,), ("u",))
    wanted = Wanted((MADE,), subscription, {"a": at(5)}, at(3))
    anew = wanted.anew()
    assert anew == Wanted(
        (MADE,), subscription, unreadable="a=5-0,run=3-0", reason=ResetReason.GONE
    )
    amid_state = Wanted((MADE,), subscription, run=at(3), states=frozenset({"a"}))
    assert amid_state.anew().unreadable == "a=state,run=3-0"


def test_the_id_that_a_client_came_with_is_rendered_as_it_came() -> None:
    one, both = Subscription.to((PLAIN,)), Subscription.to((PLAIN, OTHER))
    assert Wanted((PLAIN,), one, {"b": at(5)}).cursor == b"5-0"
    assert Wanted((PLAIN,), one).cursor == b""
    assert Wanted((PLAIN, OTHER), both, {"b": at(5), "c": at(6)}).cursor == b"b=5-0,c=6-0"
    assert Wanted((PLAIN, OTHER), both).cursor == b""
    made = Wanted((MADE,), Subscription.to((MADE,), ("u",)), {"a": at(5)}, at(3))
    assert made.cursor == b"a=5-0,run=3-0"
    assert Wanted((PLAIN,), one, states=frozenset({"b"})).cursor == b"state"
    two = Wanted((PLAIN, OTHER), both, {"c": at(6)}, states=frozenset({"b"}))
    assert two.cursor == b"b=state,c=6-0"


def test_an_id_that_can_not_be_read_is_given_back_or_another_one_that_can_not() -> None:
    one = Subscription.to((PLAIN,))
    for text in ("x", "1-0 1-0", "\u00fc=\u00ef", ""):
        assert Wanted((PLAIN,), one, unreadable=text).cursor == text.encode()
    for text in ("x\ndata: y", "x\r", "\0", "x\u2028", "1-" + "1" * 300):
        assert Wanted((PLAIN,), one, unreadable=text).cursor == b"?"
