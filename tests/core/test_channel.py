from typing import Any

import pytest

from broadcaster.core.catalogue import DEMO, PET_STORE
from broadcaster.core.channel import STATE_BYTES, Channel
from broadcaster.core.run import ENDS
from broadcaster.core.state.values import Rules
from broadcaster.errors import ConfigurationError
from tests.saying import saying


def test_the_pet_store() -> None:
    orders, inventory, recommendations = PET_STORE.values()
    assert orders.path == "/v1/orders/{key}/status/stream"
    assert inventory.path == "/v1/inventory/stream"
    assert recommendations.path == "/v1/pets/recommendations/stream"
    assert [c.needs_key for c in PET_STORE.values()] == [True, False, True]
    assert orders.start_at(0) == "earliest"


def test_a_key_in_the_path_is_needed_unless_the_channel_says_otherwise() -> None:
    assert Channel(name="a", path="/a/{key}").needs_key
    assert not Channel(name="a", path="/a/{key}", key_required=False).needs_key
    assert not Channel(name="a", path="/a").needs_key
    assert Channel(name="a", path="/a", key_required=True).needs_key
    assert Channel(name="a", path="/a", requests="r", key_required=False).needs_key
    assert [c.needs_key for c in DEMO.values()] == [False, False, True]
    assert list(DEMO) == list(PET_STORE)


def test_the_stream_has_the_channels_name_by_default() -> None:
    assert Channel(name="a", path="/a").streams == {"a": "a"}
    assert Channel(name="a", path="/a", stream="prod:a").streams == {"a": "prod:a"}
    assert Channel(name="a", path="/a", stream="p:a", shards=2).streams == {
        "a.0": "p:a.0",
        "a.1": "p:a.1",
    }


def test_a_start_may_be_a_duration_back() -> None:
    assert Channel(name="a", path="/a", start="1m").start_at(100_000) == 40_000


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "a,b"},
        {"shards": 1001},
        {"name": "a=b"},
        {"name": "run"},
        {"name": "ä"},
        {"access": "private"},
        {"name": "a.0"},
        {"shards": 0},
        {"shards": 2, "requests": "r"},
        {"path": "a"},
        {"path": "/{key}/{key}"},
        {"path": "/{id}"},
        {"path": "/{"},
        {"start": "yesterday"},
        {"maxlen": 0},
        {"window_events": 0},
        {"window_bytes": -1},
        {"state": "newest"},
        {"removes": frozenset({"sold"})},
        {"append": "text", "state": "last"},
        {"state": "append"},
        {"removes": frozenset({"a"}), "terminal": frozenset({"a"}), "state": "last"},
        {"state_bytes": 0},
        {"start": "state"},
        {"state_ttl": "1 day"},
        {"state_ttl": "0s"},
    ],
)
def test_invalid_channels_are_refused_and_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Channel(**({"name": "a", "path": "/a"} | wrong))
    assert next(iter(wrong)) in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": "a.0"}, "a name that ends with '.' and digits is that of a shard"),
        ({"shards": 2, "requests": "r"}, "a channel with requests can't have shards"),
        ({"path": "/{id}"}, "path '/{id}' may have no other parameter than {key}"),
        ({"path": "/{{key}id}"}, "path '/{{key}id}' may have no other parameter than {key}"),
        ({"start": "state"}, "start 'state' needs a state: 'last', 'merge' or 'append'"),
        ({"removes": frozenset({"x"})}, "removes needs a state: 'last', 'merge' or 'append'"),
        ({"append": "text"}, "append names a field, which needs state = 'append'"),
        (
            {"state": "append"},
            "state 'append' needs the field whose texts are joined: append = …",
        ),
        ({"state_ttl": "0ms"}, "state_ttl must be at least 1ms"),
    ],
)
def test_a_refusal_of_a_channel_says_what_is_expected(wrong: dict[str, Any], said: str) -> None:
    name = wrong.get("name", "a")
    with saying(ConfigurationError, f"channel {name!r}: {said}"):
        Channel(**({"name": name, "path": "/a"} | wrong))


@pytest.mark.parametrize(
    "right",
    [
        {"access": "public"},
        {"access": "token"},
        {"shards": 1000},
        {"state": "last", "state_ttl": "1ms"},
    ],
)
def test_what_is_just_possible_is_taken(right: dict[str, Any]) -> None:
    Channel(**({"name": "a", "path": "/a"} | right))


def test_a_channel_with_runs_ends_with_what_ends_a_run() -> None:
    terminal = frozenset({"complete"})
    assert Channel(name="a", path="/a", requests="r", terminal=terminal).terminal == terminal | ENDS
    assert Channel(name="a", path="/a", terminal=terminal).terminal == terminal


def test_the_streams_of_keys_are_their_shards() -> None:
    assert Channel(name="s", path="/s", shards=4).streams_of(["a", "b"]) == {"s.3", "s.1"}


def test_a_channel_with_a_state_has_the_rules_of_its_fold() -> None:
    assert Channel(name="a", path="/a").state_rules is None
    sold, done = frozenset({"sold"}), frozenset({"done"})
    channel = Channel(
        name="a", path="/a", state="append", append="text", removes=sold, terminal=done,
        state_ttl="2s", state_bytes=7,
    )  # fmt: skip
    assert channel.state_rules == Rules("append", sold, "text", done, 2000, 7)
    assert [c.state for c in PET_STORE.values()] == ["last", "last", "append"]
    coalescing = Channel(name="a", path="/a", state="last", coalesce=True).state_rules
    assert coalescing == Rules("last", max_bytes=STATE_BYTES, coalesce=True)


@pytest.mark.parametrize("state", [{}, {"state": "merge"}, {"state": "append", "append": "text"}])
def test_only_the_newest_events_can_stand_for_those_before_them(state: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"'a': coalesce .* needs state 'last'"):
        Channel(name="a", path="/a", coalesce=True, **state)
