"""Requests in the hub's own dialect, read from their heads."""

from __future__ import annotations

from typing import Any

import pytest

from broadcaster.core.catalogue import DEMO
from broadcaster.core.channel import Channel
from broadcaster.core.event import EventId
from broadcaster.core.filter import KeysAndTypes
from broadcaster.core.wanted import Wanted
from broadcaster.errors import InvalidCursorError, InvalidRequestError, UnknownChannelError
from broadcaster.web.dialects.native import read

SHARDED = Channel(name="tickets", path="/v1/tickets", shards=2)
CHANNELS = {channel.name: channel for channel in (*DEMO.values(), SHARDED)}
NOW_MS = 1_795_000_000_000
ID = EventId(1710000000000, 0)


def asked(
    query: str = "", last_id: str | None = None, path: str | None = "inventory", key: str = ""
) -> Wanted:
    headers = [(b"host", b"x")]
    if last_id is not None:
        headers.append((b"last-event-id", last_id.encode("latin-1")))
    scope: dict[str, Any] = {"query_string": query.encode(), "headers": headers}
    return read(scope, CHANNELS, CHANNELS[path] if path else None, key, NOW_MS)


def test_channels_keys_and_types() -> None:
    one = asked("petId=a&petId=b&type=t")
    assert one.channels == (CHANNELS["inventory"],)
    assert one.subscription.filter == KeysAndTypes.of(["a", "b"], ["t"])
    several = asked("channel=orders,inventory&channel=tickets&key=a&petId=no", path=None)
    assert [channel.name for channel in several.channels] == ["orders", "inventory", "tickets"]
    assert several.subscription.keys == {"a"}
    assert asked("key=no", path="orders", key="eu/7").subscription.keys == {"eu/7"}


def test_names_may_be_off() -> None:
    assert asked("names=off", path="orders").subscription.untyped == frozenset({"complete"})
    assert asked("names=off").subscription != asked().subscription
    assert asked("names=on").subscription == asked().subscription == asked("names=").subscription
    for query in ("names=maybe", "names=maybe&names=off"):
        with pytest.raises(InvalidRequestError, match="names is on or off, not 'maybe'"):
            asked(query)


def test_heartbeats_may_be_events() -> None:
    assert asked("heartbeat=event").subscription.beats
    assert not asked("heartbeat=comment").subscription.beats
    assert not asked("heartbeat=").subscription.beats
    assert asked("heartbeat=event").subscription == asked().subscription  # one group in the hub
    with pytest.raises(InvalidRequestError, match="heartbeat is comment or event, not 'often'"):
        asked("heartbeat=often")
    with pytest.raises(InvalidRequestError, match="did you mean 'heartbeat'"):
        asked("heartbeats=event")


@pytest.mark.parametrize("param", ["lastEventId", "lastEventID", "Last-Event-ID", "last_event_id"])
def test_a_cursor_may_come_in_the_query(param: str) -> None:
    wanted = asked(f"{param}={ID}")
    assert (wanted.positions, wanted.unreadable) == ({"inventory": ID}, None)
    assert asked(f"{param}={ID}&from=earliest").start is None
    newer = asked(f"{param}={ID}", last_id="1710000000009-0")
    assert newer.positions == {"inventory": EventId(1710000000009, 0)}
    unreadable = asked(f"{param}=nonsense&from=earliest")
    assert (unreadable.unreadable, unreadable.positions) == ("nonsense", {})
    assert unreadable.positions or unreadable.unreadable is not None
    empty = asked(f"{param}=&from=earliest")  # of a client that has seen no id yet
    assert (empty.start, empty.positions, empty.unreadable) == ("earliest", {}, None)


def test_of_cursors_in_the_query_the_newest_counts_and_the_first_name() -> None:
    assert asked(f"lastEventId=1-0&lastEventId={ID}").positions == {"inventory": ID}
    assert asked(f"last_event_id=1-0&lastEventId={ID}").positions == {"inventory": ID}


def test_with_an_empty_header_the_query_decides() -> None:
    wanted = asked("from=earliest", last_id="")
    assert (wanted.start, wanted.positions, wanted.unreadable) == ("earliest", {}, None)
    assert asked(f"lastEventId={ID}", last_id="").positions == {"inventory": ID}
    assert asked(last_id="").unreadable == ""


def test_white_space_around_the_header_is_no_part_of_it_and_it_is_utf_8() -> None:
    assert asked(last_id=f" \t{ID} \t").positions == {"inventory": ID}
    assert asked("from=earliest", last_id="  ").start == "earliest"
    assert asked(last_id="\u00fc".encode().decode("latin-1")).unreadable == "\u00fc"


@pytest.mark.parametrize("way", ["lastEventId", "from"])
@pytest.mark.parametrize("text", [f"inventory={ID},orders=1-0", f"inventory%3D{ID}%2Corders%3D1-0"])
def test_a_cursor_of_several_channels(way: str, text: str) -> None:
    wanted = asked(f"channel=orders&channel=inventory&{way}={text}", path=None)
    assert wanted.positions == {"inventory": ID, "orders": EventId(1, 0)}


@pytest.mark.parametrize("way", ["lastEventId", "Last-Event-ID", "from"])
def test_a_cursor_of_a_run(way: str) -> None:
    wanted = asked(f"userId=u&{way}=recommendations={ID},run=7-0", path="recommendations")
    assert (wanted.positions, wanted.run) == ({"recommendations": ID}, EventId(7, 0))
    assert wanted.subscription.on_demand == CHANNELS["recommendations"]


def test_a_cursor_of_a_run_that_does_not_name_it_is_unreadable() -> None:
    query = f"userId=u&lastEventId={ID}"
    assert asked(query, path="recommendations").unreadable == str(ID)
    assert asked("userId=u", str(ID), path="recommendations").unreadable == str(ID)


@pytest.mark.parametrize(
    ("query", "path", "meant"),
    [("form=10m", "inventory", "from"), ("Type=t", "inventory", "type"),
     ("types=t", "inventory", "type"), ("petid=7", "inventory", "petId"),
     ("pet_id=7", "inventory", "petId"), ("petIds=7", "inventory", "petId"),
     ("channels=orders&channel=inventory", None, "channel"),
     ("channel=inventory&keys=7", None, "key"), ("lasteventid=1-0", "inventory", "lastEventI"),
     ("Last-Event-Id=1-0", "inventory", "Last-Event-ID"),
     ("userId=u&fro=10m", "recommendations", "from")],
)  # fmt: skip
def test_a_misspelt_parameter_is_refused_with_the_right_name(
    query: str, path: str | None, meant: str
) -> None:
    with pytest.raises(InvalidRequestError, match=f"did you mean '{meant}"):
        asked(query, path=path)


@pytest.mark.parametrize(
    ("query", "path"),
    [("utm_source=x&gclid=1&fbclid=2&_=3&v=4&token=t&ticket=t", "inventory"),
     ("names=off&profile=bare&format=x", "inventory"), ("key=7&channel=inventory", "inventory"),
     ("userId=7", "inventory"), ("channel=inventory&petId=7&userId=u", None)],
)  # fmt: skip
def test_names_of_others_and_of_other_routes_are_ignored(query: str, path: str | None) -> None:
    assert asked(query, path=path).subscription.keys == set()


def test_a_channel_may_call_its_keys_as_it_likes() -> None:
    own = {"a": Channel(name="a", path="/a", key_param="form"), "b": Channel(name="b", path="/b")}
    scope: dict[str, Any] = {"query_string": b"form=7", "headers": []}
    assert read(scope, own, own["a"], "", NOW_MS).subscription.keys == {"7"}
    assert read(scope, own, own["b"], "", NOW_MS).subscription.keys == set()


def test_where_to_begin() -> None:
    assert asked().start is None
    assert asked("from=earliest").start == "earliest"
    assert asked("from=10m").start == NOW_MS - 600_000
    assert asked("from=2020-01-01T00:00:00Z").start == 1_577_836_800_000
    assert asked(f"from={ID}").positions == {"inventory": ID}
    nothing = asked("from=&lastEventId=")
    assert (nothing.positions, nothing.unreadable) == ({}, None)
    other_shards = asked("from=tickets.7=1-0", path="tickets")
    assert other_shards.unreadable == "tickets.7=1-0"


@pytest.mark.parametrize("last_id", ["x", "\xff", "1-1,1-1", "a" * 60_000])
def test_an_unreadable_header_is_no_error(last_id: str) -> None:
    assert asked("from=earliest", last_id).unreadable == last_id.replace("\xff", "\ufffd")


@pytest.mark.parametrize(
    ("query", "path", "error"),
    [
        ("", None, InvalidRequestError),
        ("channel=nope", None, UnknownChannelError),
        ("channel=orders,", None, UnknownChannelError),
        ("", "recommendations", InvalidRequestError),
        ("userId=a&userId=b", "recommendations", InvalidRequestError),
        ("petId=%FF", "inventory", InvalidRequestError),
        ("&".join(["petId=x"] * 101), "inventory", InvalidRequestError),
        ("from=x", "inventory", InvalidCursorError),
        ("from=1-", "inventory", InvalidCursorError),
        ("from=2099-01-01T00:00:00Z", "inventory", InvalidCursorError),
    ],
)
def test_requests_that_would_fail_again(
    query: str, path: str | None, error: type[Exception]
) -> None:
    with pytest.raises(error):
        asked(query, path=path)
