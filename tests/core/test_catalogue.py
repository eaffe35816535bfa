from __future__ import annotations

from dataclasses import replace

import pytest

from broadcaster.core.catalogue import PET_STORE, Catalogue, Destination, with_bounds
from broadcaster.core.channel import Channel
from broadcaster.core.shards import shard_of
from broadcaster.errors import ConfigurationError, UnknownChannelError
from tests.saying import saying

PLAIN = Channel(name="plain", path="/plain", maxlen=7)
SHARDED = Channel(name="sharded", path="/sharded", stream="prod:s", shards=4)
ON_DEMAND = Channel(name="asked", path="/asked", requests="prod:asked")
CATALOGUE = Catalogue([PLAIN, SHARDED, ON_DEMAND])


@pytest.mark.parametrize("shards", [1, 2, 4])
def test_the_streams_of_a_channel_are_as_many_as_its_shards(shards: int) -> None:
    made = Catalogue([Channel(name="c", path="/c", shards=shards)])
    numbers = {made.resolve("c", str(key)).shard for key in range(50)}
    assert numbers == ({None} if shards == 1 else set(range(shards)))


def test_a_channel_and_a_key_resolve_to_one_stream() -> None:
    assert CATALOGUE.resolve("plain", "any") == Destination("plain", None, "plain", 7)
    shard = shard_of("k", 4)
    assert CATALOGUE.resolve("sharded", "k") == Destination(
        f"sharded.{shard}", shard, f"prod:s.{shard}", SHARDED.maxlen
    )
    assert CATALOGUE.resolve("sharded").shard == 0
    assert CATALOGUE.requests_of("asked") == "prod:asked"
    assert CATALOGUE.streams == {
        "plain": "plain",
        **{f"sharded.{n}": f"prod:s.{n}" for n in range(4)},
        "asked": "asked",
    }


def test_it_is_a_mapping_by_name() -> None:
    assert dict(CATALOGUE) == {"plain": PLAIN, "sharded": SHARDED, "asked": ON_DEMAND}
    assert "other" not in CATALOGUE
    assert len(CATALOGUE) == 3
    assert CATALOGUE.channel("plain") is PLAIN
    assert Catalogue.of(CATALOGUE) is CATALOGUE
    assert Catalogue.of(dict(CATALOGUE)) == CATALOGUE
    assert Catalogue.of(iter([PLAIN])) == {"plain": PLAIN}
    assert repr(PLAIN) in repr(CATALOGUE)


def test_an_unknown_channel_is_an_error_that_names_the_others_and_what_to_do() -> None:
    for ask in (CATALOGUE.channel, CATALOGUE.resolve, CATALOGUE.requests_of):
        with pytest.raises(UnknownChannelError, match=r"'plane'.*BROADCASTER_CHANNELS") as caught:
            ask("plane")
        assert caught.value.channel == "plane"
        assert caught.value.known == ["asked", "plain", "sharded"]
        assert "asked, plain, sharded" in str(caught.value)


def test_a_channel_that_is_not_made_on_demand_has_no_requests() -> None:
    with pytest.raises(ConfigurationError, match=r"'plain' .* requests = 'plain\.requests'"):
        CATALOGUE.requests_of("plain")


@pytest.mark.parametrize(
    ("channels", "said"),
    [
        ([], "at least one channel is needed"),
        ([PLAIN, PLAIN], "two channels have the same name, 'plain'"),
        (
            [PLAIN, Channel(name="b", path="/plain")],
            "channels 'plain' and 'b' have the same path, /plain: each channel needs its own",
        ),
        (
            [PLAIN, Channel(name="b", path="/plain/")],
            "channels 'plain' and 'b' have the same path, /plain/: each channel needs its own",
        ),
        (
            [Channel(name="a", path="/v1/events")],
            "channel 'a': its path is also /v1/events, the hub's own",
        ),
        (
            [Channel(name="a", path="/{key}")],
            "channel 'a': its path is also /client.js, the hub's own",
        ),
        (
            [Channel(name="a", path="/v1/channels/a")],
            "channel 'a': its path is also /v1/channels/{channel}, the hub's own",
        ),
        (
            {"a": PLAIN},
            "channel 'a' is called 'plain': leave the name out, it is that of the table",
        ),
    ],
)
def test_channels_that_cannot_be_served_together_are_refused(
    channels: list[Channel] | dict[str, Channel], said: str
) -> None:
    with saying(ConfigurationError, said):
        Catalogue.of(channels)


def test_a_slash_at_the_end_of_a_path_is_all_that_does_not_count() -> None:
    assert set(Catalogue([PLAIN, Channel(name="b", path="/plainX")])) == {"plain", "b"}


def test_bounds_go_to_channels_that_have_none_of_their_own() -> None:
    tables = {"a": {"path": "/a"}, "b": {"path": "/b", "maxlen": 1}, "made": PLAIN}
    assert with_bounds(tables, {"maxlen": 9}) == {
        "a": {"path": "/a", "maxlen": 9},
        "b": {"path": "/b", "maxlen": 1},
        "made": PLAIN,
    }
    stores = with_bounds(None, {"window_events": 5})
    assert {name: Channel(**table) for name, table in stores.items()} == {
        name: replace(channel, window_events=5) for name, channel in PET_STORE.items()
    }


def test_names_of_channels_that_are_not_listed_and_of_their_streams() -> None:
    channels = [PLAIN, Channel(name="a", path="/a", listed=False)]
    more = Channel(name="b", path="/b", listed=False, shards=2)
    assert Catalogue([*channels, more]).unlisted == {"a", "b", "b.0", "b.1"}
    assert Catalogue([PLAIN]).unlisted == frozenset()
