import pytest

from broadcaster.core.channel import PET_STORE, Channel
from broadcaster.core.event import EventId
from broadcaster.core.sse import Frame
from broadcaster.core.subscription import Subscription
from broadcaster.errors import InvalidRequestError

ORDERS, INVENTORY, RECOMMENDATIONS = PET_STORE


def frame(ms: int, type_: str = "t", key: str = "") -> Frame:
    return Frame(EventId(ms, 0), type_, key, b"x")


def test_streams_are_sorted_and_each_is_there_once() -> None:
    assert Subscription.to([ORDERS, INVENTORY, ORDERS]).streams == ("inventory", "orders")


def test_only_one_channel_with_one_key_can_be_over() -> None:
    assert Subscription.to([ORDERS], ["7"]).terminal == {"complete"}
    assert Subscription.to([ORDERS]).terminal == set()
    assert Subscription.to([ORDERS], ["7", "8"]).terminal == set()
    assert Subscription.to([ORDERS, INVENTORY], ["7"]).terminal == set()


def test_a_type_filter_never_hides_the_terminal_event() -> None:
    subscription = Subscription.to([ORDERS], ["7"], ["status"])
    assert subscription.accepts(frame(1, "complete", "7"))
    assert not subscription.accepts(frame(1, "note", "7"))
    assert Subscription.to([ORDERS], ["7"]).accepts(frame(1, "note", "7"))


@pytest.mark.parametrize(
    ("channels", "keys", "says"),
    [
        ([], [], "at least one channel"),
        ([RECOMMENDATIONS], [], "?userId="),
        ([RECOMMENDATIONS], [""], "?userId="),
        ([RECOMMENDATIONS, INVENTORY], ["u", "v"], "one key"),
        ([RECOMMENDATIONS, Channel(name="b", path="/b", requests="r")], ["u"], "one such channel"),
    ],
)
def test_what_cannot_be_subscribed_to(channels: list[Channel], keys: list[str], says: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        Subscription.to(channels, keys)
    assert says in str(caught.value)


def test_filters() -> None:
    assert not Subscription(("a",)).filtered
    keyed = Subscription(("a",), keys=frozenset({"k"}))
    assert keyed.filtered
    assert keyed.accepts(frame(1, key="k"))
    assert not keyed.accepts(frame(1))
    typed = Subscription(("a",), types=frozenset({"t"}))
    assert typed.filtered
    assert typed.select([frame(1), frame(2, "u")]) == ([frame(1)], False)


def test_nothing_is_selected_after_the_end() -> None:
    subscription = Subscription(("a",), frozenset({"k"}), terminal=frozenset({"end"}))
    frames = [frame(1, key="k"), frame(2, "end"), frame(3, "end", "k"), frame(4, key="k")]
    assert subscription.select(frames) == ([frames[0], frames[2]], True)
    assert subscription.select(frames[:2]) == ([frames[0]], False)
    assert subscription.ends_with(frames[2])
    assert not subscription.ends_with(frames[1])
