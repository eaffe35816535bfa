"""Where a client begins, as its cursor or a text of its own says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broadcaster.core.channel import Channel
from broadcaster.core.event import EventId
from broadcaster.core.resume.beginning import ReshardedError, at_cursor, begin_at, restore
from broadcaster.core.subscription import Subscription
from broadcaster.errors import InvalidCursorError
from tests.core.test_subscription import INVENTORY, ORDERS, RECOMMENDATIONS, SHARDED
from tests.saying import saying

PLAIN = Channel(name="plain", path="/plain")
WITH_STATE = Channel(name="with", path="/with", state="last")
SHARDS_WITH_STATE = replace(SHARDED, state="last")


def restored(text: str, *channels: Channel, keys: tuple[str, ...] = ()) -> dict[str, str]:
    positions, _, states = restore(text, Subscription.to(channels, keys), channels)
    return {name: str(id_) for name, id_ in positions.items()} | dict.fromkeys(states, "state")


def test_a_cursor_that_was_sent_is_restored() -> None:
    assert restored("5-1", INVENTORY) == {"inventory": "5-1"}
    assert restored("inventory=5-1", INVENTORY) == {"inventory": "5-1"}
    assert restored("inventory=5-1,orders=6-0", INVENTORY, ORDERS) == {
        "inventory": "5-1",
        "orders": "6-0",
    }
    assert restored("s.1=5-0", SHARDED, keys=("b",)) == {"s.1": "5-0"}


def test_channels_that_the_client_dropped_are_passed_over() -> None:
    assert restored("inventory=5-1,orders=6-0", ORDERS) == {"orders": "6-0"}


def test_a_channel_that_the_client_added_has_no_position_yet() -> None:
    assert restored("orders=6-0", ORDERS, INVENTORY) == {"orders": "6-0"}


def test_a_shard_that_the_clients_id_lacks_is_read_from_its_beginning() -> None:
    assert restored("s.1=5-0", SHARDED, keys=("b", "c")) == {"s.1": "5-0", "s.3": "0-0"}
    two = Channel(name="s", path="/s", shards=2)
    assert restored("s.0=5-0,s.1=6-0", SHARDED) == {
        "s.0": "5-0",
        "s.1": "6-0",
        "s.2": "0-0",
        "s.3": "0-0",
    }
    assert restored("s.0=5-0,s.1=6-0", two) == {"s.0": "5-0", "s.1": "6-0"}


def test_a_client_that_was_cut_amid_a_state_begins_with_it() -> None:
    assert restored("state", WITH_STATE) == {"with": "state"}
    assert restored("state", WITH_STATE, PLAIN) == {"with": "state"}
    assert restored("with=state", WITH_STATE) == {"with": "state"}
    two = restored("plain=5-1,with=state", WITH_STATE, PLAIN)
    assert two == {"plain": "5-1", "with": "state"}
    assert restored("plain=5-1,with=state", PLAIN) == {"plain": "5-1"}
    assert restored("s.1=state,s.3=6-0", SHARDS_WITH_STATE, keys=("b", "c")) == {
        "s.1": "state",
        "s.3": "6-0",
    }
    assert restored("s.1=state", SHARDS_WITH_STATE, keys=("b", "c"))["s.3"] == "0-0"


NAMES_NONE = "the id names none of the subscription's channels"
NONE_IN_IT = "none of the subscription's channels is in it"
NAMES_SHARDS = "the id names shards of 's' that are not read now"
NO_SHARDS_NOW = NAMES_SHARDS.replace("'s'", "'inventory'")
STATE_OF_NONE = "the id names the state of a channel that has none"


@pytest.mark.parametrize(
    ("text", "channels", "said"),
    [
        ("5-1", (SHARDED,), NAMES_NONE),  # of a time before it was sharded
        ("s=5-1,inventory=5-1", (SHARDED, INVENTORY), NAMES_SHARDS),
        ("s.0=5-1,s.1=5-1,s.2=5-1,s.3=5-1,s.4=5-1", (SHARDED,), NAMES_SHARDS),  # it had more
        ("s.0=5-1,s.4=5-1", (SHARDED,), NAMES_SHARDS),
        ("inventory.0=5-1,inventory.1=5-1", (INVENTORY,), NO_SHARDS_NOW),
        ("inventory.0=5-1,orders=5-1", (INVENTORY, ORDERS), NO_SHARDS_NOW),
        ("5-1", (INVENTORY, ORDERS), NAMES_NONE),
        ("x=5-1", (INVENTORY,), NONE_IN_IT),
        ("run=5-1", (INVENTORY,), NONE_IN_IT),
        ("=5-1", (INVENTORY,), NONE_IN_IT),
        ("state", (PLAIN,), "'state' is not an event id like 1710000000000-0"),
        ("plain=state", (PLAIN,), STATE_OF_NONE),
        ("with=state", (PLAIN,), NONE_IN_IT),
        ("s=state", (SHARDS_WITH_STATE,), NAMES_SHARDS),  # of a time before it was sharded
        ("s.0=state,s.4=state", (SHARDS_WITH_STATE,), NAMES_SHARDS),
    ],
)
def test_an_id_without_any_of_the_streams_is_refused(
    text: str, channels: tuple[Channel, ...], said: str
) -> None:
    with saying(InvalidCursorError, said):
        restored(text, *channels)


def test_a_key_that_has_moved_to_another_shard_may_have_left_events_behind() -> None:
    eight = Channel(name="s", path="/s", shards=8)
    with pytest.raises(ReshardedError):
        restored("s.0=5-0", eight, keys=("d",))  # which is in the shard 4 now
    three = Channel(name="s", path="/s", shards=3)
    with pytest.raises(ReshardedError):  # of two shards "c" was in the other one
        restored("s.0=5-0,s.1=5-0", three, keys=("c", "d"))
    with pytest.raises(ReshardedError):  # it may be that it does not want "a" any more
        restored("s.1=5-0,s.3=6-0", SHARDED, keys=("b",))
    assert restored("s.3=5-0", eight, keys=("a",)) == {"s.3": "5-0"}  # which is where it was
    # A client that also follows a key of the old shard gets the events that are left there.
    assert restored("s.0=5-0", eight, keys=("d", "f")) == {"s.0": "5-0", "s.4": "0-0"}


def test_a_cursor_that_cannot_be_read_is_kept_and_another_beginning_is_refused() -> None:
    one = Subscription.to([INVENTORY])
    assert at_cursor("x", (INVENTORY,), one).unreadable == "x"
    with pytest.raises(InvalidCursorError):
        begin_at("x", (INVENTORY,), one, 0)
    some = Subscription.to([SHARDED], ["d"])
    assert begin_at("s.4=5-0", (SHARDED,), some, 0).unreadable == "s.4=5-0"
    assert begin_at("5-0", (SHARDED,), some, 0).unreadable == "5-0"  # before it had shards
    two = (SHARDED, INVENTORY)
    with pytest.raises(InvalidCursorError):
        begin_at("5-0", two, Subscription.to(two), 0)


def test_a_cursor_amid_a_state_asks_for_that_state() -> None:
    both = (WITH_STATE, PLAIN)
    found = at_cursor("plain=5-1,with=state", both, Subscription.to(both))
    assert found.positions == {"plain": EventId(5, 1)}
    assert found.states == {"with"}


def test_a_beginning_is_an_id_or_a_time() -> None:
    one = Subscription.to([INVENTORY])
    assert begin_at("5-1", (INVENTORY,), one, 0).positions == {"inventory": EventId(5, 1)}
    assert begin_at("1s", (INVENTORY,), one, 5000).start == 4000


def test_the_cursor_of_what_is_made_on_demand_names_its_run() -> None:
    made, of = (RECOMMENDATIONS,), Subscription.to([RECOMMENDATIONS], ["u"])
    name = RECOMMENDATIONS.name
    found = at_cursor(f"{name}=5-0,run=3-0", made, of)
    assert (found.run, found.positions) == (EventId(3, 0), {name: EventId(5, 0)})
    fresh = at_cursor("0", made, of)
    assert (fresh.positions, fresh.unreadable) == ({}, None)
    assert at_cursor(f"{name}=5-0", made, of).unreadable == f"{name}=5-0"
    with_state = (replace(RECOMMENDATIONS, state="append", append="reason"),)
    found = at_cursor(f"{name}=state,run=3-0", with_state, of)
    assert (found.run, found.states) == (EventId(3, 0), frozenset({name}))
    assert at_cursor("state", with_state, of).unreadable == "state", "which run, it does not say"
