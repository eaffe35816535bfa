"""The state of a stream as pages of bytes, shared by clients with equal needs."""

from __future__ import annotations

from itertools import count

import pytest

from broadcaster.core.channel import Channel
from broadcaster.core.entry import frame_of
from broadcaster.core.event import EventId
from broadcaster.core.filter import KeysAndTypes
from broadcaster.core.history.window import Window
from broadcaster.core.sse import Frame
from broadcaster.core.state.fold import Fold
from broadcaster.core.state.states import HubStates, Rendering, StatePage
from broadcaster.core.state.values import Rules
from broadcaster.core.subscription import Subscription

A = Subscription(("a",))
TYPED = Subscription(("a",), KeysAndTypes.of(types=["t"]))
UNNAMED = Subscription.to([Channel(name="a", path="/a")], names=False)


def frame(ms: int, key: str = "k", data: str = "d") -> Frame:
    return frame_of(EventId(ms, 0), type="t", key=key, data=data)


def pages(frames: list[Frame], subscription: Subscription) -> list[StatePage]:
    fold = Fold(Rules("last"))
    fold.apply(frames)
    made = Rendering("a", fold.cut(), subscription)
    found = list[StatePage]()
    for number in count():
        if (page := made.page(number)) is None:
            return found
        found.append(page)
        assert made.page(number) is page, "each page is made once"
    raise AssertionError


@pytest.mark.parametrize("subscription", [A, TYPED, UNNAMED])
def test_a_page_ends_with_the_key_that_reaches_64_kib(subscription: Subscription) -> None:
    name = 0 if subscription is UNNAMED else len("event: t\n")
    size = 2048 - len("data: \n\n") - name  # so that 32 of them have exactly 64 KiB
    frames = [frame(ms, str(ms), "d" * size) for ms in range(1, 101)]
    found = pages(frames, subscription)
    assert [page.events for page in found] == [32, 32, 32, 4]
    shown = [f.without_type() if subscription is UNNAMED else f for f in frames]
    assert b"".join(page.data for page in found) == b"".join(f.without_id() for f in shown)
    assert [one for page in found for one in page.frames()] == frames


@pytest.mark.parametrize(("keys", "shared"), [(10, 256), (4096, 512)])
def test_a_state_is_shared_until_more_than_an_eighth_of_its_keys_has_followed(
    keys: int, shared: int
) -> None:
    window = Window(10_000, 1 << 30)
    states = HubStates({"a": window}, {"a": Rules("last")})
    states.folds["a"].offered = True

    def publish(first: int, number: int) -> None:
        frames = [frame(first + n, f"key {n % keys}") for n in range(number)]
        window.append(frames)
        states.apply("a", frames)

    publish(1, keys)
    first = states.rendering("a", A)
    publish(10_000, shared)
    assert states.rendering("a", A) is first
    publish(20_000, 1)
    assert states.rendering("a", A) is not first
