"""Resets in the first bytes of a response: of which one the id is, and what is counted."""

from __future__ import annotations

from broadcaster.core.event import ZERO
from broadcaster.core.fanout.hub import Hub
from broadcaster.core.history.window import Window
from broadcaster.core.resume.resets import hello
from broadcaster.core.resume.steps import Greeting
from broadcaster.core.subscription import Subscription

AT = b"a=0-0,b=0-0"


def first_bytes(hub: Hub, with_state: frozenset[str] = frozenset()) -> list[bytes]:
    """Return the blocks of resets that a client of two streams is sent first."""
    subscription, greeting = Subscription(("a", "b")), Greeting(7, "odd")
    positions = {"a": ZERO, "b": ZERO}
    found = hello(hub.context, subscription, greeting, positions, AT, with_state)
    assert (found.at, found.later) == (AT, with_state)
    return [block for block in found.data.split(b"\n\n") if b"event: " in block]


def test_the_last_of_several_resets_has_the_id() -> None:
    hub = Hub({name: Window(10, 10_000) for name in "ab"})
    first, last = first_bytes(hub)
    assert b"id: " not in first
    assert b"id: " + AT in last
    assert dict(+hub.resets) == {("a", "invalid"): 1, ("b", "invalid"): 1}
    first_bytes(hub)
    assert dict(+hub.resets) == {("a", "invalid"): 2, ("b", "invalid"): 2}
    assert dict(+hub.resumes) == {"reset": 2}


def test_a_stream_whose_state_follows_is_reset_with_it() -> None:
    hub = Hub({name: Window(10, 10_000) for name in "ab"})
    (only,) = first_bytes(hub, frozenset("b"))
    assert b'"a"' in only
    assert dict(+hub.resets) == {("a", "invalid"): 1}
