import pytest

from broadcaster.core.catalogue import DEMO
from broadcaster.core.channel import Channel
from broadcaster.core.event import ZERO, EventId
from broadcaster.core.filter import KeysAndTypes
from broadcaster.core.sse import Frame
from broadcaster.core.subscription import Subscription
from broadcaster.core.wire import RESTART
from broadcaster.errors import InvalidRequestError
from tests.saying import saying

ORDERS, INVENTORY, RECOMMENDATIONS = DEMO.values()


def frame(ms: int, type_: str = "t", key: str = "") -> Frame:
    return Frame(EventId(ms, 0), type_, key, b"x")


def test_streams_are_sorted_and_each_is_there_once() -> None:
    assert Subscription.to([ORDERS, INVENTORY, ORDERS]).streams == ("inventory", "orders")


@pytest.mark.parametrize("text", ["x" * 257, "é" * 129, "\N{PILE OF POO}" * 65, "\ud800" * 86])
def test_long_keys_and_types_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"key .*bytes in UTF-8; at most 256"):
        Subscription.to([INVENTORY], ["fine", text])
    with pytest.raises(InvalidRequestError, match=r"type .*at most 256"):
        Subscription.to([INVENTORY], types=[text])


def test_a_subscription_has_a_channel() -> None:
    with saying(InvalidRequestError, "name at least one channel: ?channel=…"):
        Subscription.to([])


def test_a_long_key_is_named_by_its_beginning() -> None:
    said = f"key '{'x' * 32}'… has 257 bytes in UTF-8; at most 256 may be"
    with saying(InvalidRequestError, said):
        Subscription.to([INVENTORY], ["x" * 257])


def test_only_a_subscription_to_runs_gets_their_restarts_whatever_its_types() -> None:
    restart = frame(1, RESTART.type, "u")
    assert not Subscription.to([INVENTORY], ["u"], ["t"]).accepts("a", restart)
    assert Subscription.to([RECOMMENDATIONS], ["u"], ["t"]).accepts("a", restart)


def test_what_a_subscription_needs_for_its_bytes_is_known_before_they_are_made() -> None:
    """Bytes that are those of the frames are joined at once, which is most of what a node does."""
    one, two_shards = Subscription.to([INVENTORY]), Channel(name="s", path="/s", shards=2)
    assert (one.plain, one.named, one.beats) == (True, False, False)
    assert not Subscription.to([INVENTORY], names=False).plain
    assert not Subscription.to([INVENTORY, ORDERS]).plain
    assert Subscription.to([two_shards], ["k"]).named
    assert Subscription.to([INVENTORY], beats=True).beats


@pytest.mark.parametrize("text", ["x" * 256, "é" * 128])
def test_keys_and_types_may_have_256_bytes(text: str) -> None:
    assert Subscription.to([INVENTORY], [text], [text]).keys == {text}


def test_only_one_channel_with_one_key_can_be_over() -> None:
    assert Subscription.to([ORDERS], ["7"]).terminal == {"complete"}
    assert Subscription.to([ORDERS]).terminal == set()
    assert Subscription.to([ORDERS], ["7", "8"]).terminal == set()
    assert Subscription.to([ORDERS, INVENTORY], ["7"]).terminal == set()


def test_a_type_filter_never_hides_the_terminal_event() -> None:
    subscription = Subscription.to([ORDERS], ["7"], ["status"])
    assert subscription.accepts("a", frame(1, "complete", "7"))
    assert not subscription.accepts("a", frame(1, "note", "7"))
    assert Subscription.to([ORDERS], ["7"]).accepts("a", frame(1, "note", "7"))


@pytest.mark.parametrize(
    ("channels", "keys", "says"),
    [
        ([RECOMMENDATIONS], [], "?userId="),
        ([RECOMMENDATIONS], [""], "?userId="),
        ([RECOMMENDATIONS, INVENTORY], ["u", "v"], "one key"),
        ([RECOMMENDATIONS], ["u", "v"], "one key"),
        (
            [RECOMMENDATIONS, Channel(name="b", path="/b", requests="r")],
            ["u"],
            "recommendations, b: made on demand, so it comes alone, and for one key",
        ),
    ],
)
def test_subscriptions_that_are_refused(
    channels: list[Channel], keys: list[str], says: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        Subscription.to(channels, keys)
    assert says in str(caught.value)


def test_what_is_made_on_demand_needs_a_key_once_the_policy_was_asked() -> None:
    made = Channel(name="b", path="/b", requests="r")
    assert Subscription.to([made], granted=None).on_demand is made
    with pytest.raises(InvalidRequestError, match="for one key"):
        Subscription.to([made], granted=(("b", frozenset()),))


def test_filters() -> None:
    assert not Subscription(("a",)).filtered
    keyed = Subscription(("a",), KeysAndTypes.of(["k"]))
    assert keyed.filtered
    assert keyed.accepts("a", frame(1, key="k"))
    assert not keyed.accepts("a", frame(1))
    typed = Subscription(("a",), KeysAndTypes.of(types=["t"]))
    assert typed.filtered
    assert typed.select([frame(1), frame(2, "u")]) == ([frame(1)], False)


def test_nothing_is_selected_after_the_end() -> None:
    subscription = Subscription(("a",), KeysAndTypes.of(["k"]), terminal=frozenset({"end"}))
    frames = [frame(1, key="k"), frame(2, "end", "k"), frame(3, key="k")]
    assert subscription.select(frames) == (frames[:2], True)
    assert subscription.select(frames[:1]) == (frames[:1], False)
    assert subscription.ends_with(frames[1])
    assert not subscription.ends_with(frame(2, "end"))


SHARDED = Channel(name="s", path="/s", shards=4)
KEYS = ("a", "b", "c", "d")  # in the shards 3, 1, 3 and 0


def test_only_a_channel_with_requests_is_made_on_demand() -> None:
    made = Channel(name="made", path="/made", requests="made.requests")
    assert Subscription.to([made], ["u"]).on_demand is made
    assert Subscription.to([INVENTORY], ["u"]).on_demand is None


def test_keys_select_the_shards_and_a_position_in_one_is_named() -> None:
    assert Subscription.to([SHARDED]).streams == ("s.0", "s.1", "s.2", "s.3")
    one = Subscription.to([SHARDED], ["b"])
    assert one.streams == ("s.1",)
    assert one.cursor({"s.1": EventId(5, 0)}) == b"s.1=5-0"
    assert Subscription.to([SHARDED], KEYS).streams == ("s.0", "s.1", "s.3")
    both = Subscription.to([SHARDED, INVENTORY], ["b"])
    assert both.streams == ("inventory", "s.1")


def test_a_single_position_that_is_a_boundary_is_not_sent() -> None:
    one = Subscription(("a",))
    for position, told in (
        (EventId(5, 1), b"5-1"),
        (ZERO, b"0-0"),
        (EventId(6, 0).before(), b""),
        (EventId(6, 2).before(), b""),
    ):
        assert one.cursor({"a": position}) == told


def test_a_run_is_followed_without_types_too() -> None:
    subscription = Subscription.to([RECOMMENDATIONS], ["you"], names=False)
    run = subscription.narrowed_to("you#1-0", EventId(1, 0))
    ends = {"complete", "failed", "stopped", "stream.restart"}
    assert run.untyped == frozenset(ends)
    assert run.run == EventId(1, 0)
