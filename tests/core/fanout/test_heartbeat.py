"""What quiet clients are sent, and what is sent last."""

from __future__ import annotations

from dataclasses import replace

from broadcaster.core import sse
from broadcaster.core.event import ZERO, EventId
from broadcaster.core.fanout.heartbeat import farewell, heartbeat, waiting
from broadcaster.core.filter import KeysAndTypes
from broadcaster.core.runs.silent import Waiting
from broadcaster.core.subscription import Subscription
from broadcaster.core.wire import Ending
from tests.core.fanout.test_hub import AB, Client, beat, event, fan_out, make_hub

KEYED = Subscription(("a",), KeysAndTypes.of(["k"]))
KEYED_AB = Subscription(("a", "b"), KeysAndTypes.of(["k"]))


def test_a_position_is_sent_once() -> None:
    hub = make_hub()
    client = Client(hub, KEYED).live()
    beat(hub)
    assert client.data == [sse.HEARTBEAT]  # `stream.live` had it
    fan_out(hub, "a", event(5, "other"), event(6, "other"))
    for _ in range(3):
        beat(hub)
    assert client.data[1:] == [sse.at(b"6-0"), sse.HEARTBEAT, sse.HEARTBEAT]


def test_the_id_of_the_clients_own_event_is_not_sent_again() -> None:
    hub = make_hub()
    client = Client(hub, KEYED).live()
    fan_out(hub, "a", event(5, "other"), event(6, "k"))
    beat(hub)
    assert client.data == [event(6, "k").wire, sse.HEARTBEAT]
    fan_out(hub, "a", event(7, "k"), event(8, "other"))
    beat(hub)
    assert client.data[2:] == [event(7, "k").wire, sse.at(b"8-0")]


def test_the_position_in_several_streams_is_sent_when_one_of_them_moves() -> None:
    hub = make_hub()
    client = Client(hub, KEYED_AB).live()
    fan_out(hub, "a", event(5, "k"))
    fan_out(hub, "b", event(6, "other"))
    beat(hub)
    beat(hub)
    assert client.data[1:] == [sse.at(b"a=5-0,b=6-0"), sse.HEARTBEAT]
    fan_out(hub, "b", event(7, "k"))
    beat(hub)
    assert client.data[-1] == sse.HEARTBEAT


def test_after_a_lag_the_position_is_sent_too() -> None:
    hub = make_hub()
    client = Client(hub, KEYED).live()
    hub.lag(client.subscriber)
    fan_out(hub, "a", event(5, "k"), event(6, "other"))
    client.catch_up()
    beat(hub)
    assert client.data == [event(5, "k").wire, sse.at(b"6-0")]


def test_a_client_that_gets_all_events_gets_comments() -> None:
    hub = make_hub()
    client = Client(hub).live()
    fan_out(hub, "a", event(5))
    beat(hub)
    assert client.data == [event(5).wire, sse.HEARTBEAT]


def test_a_heartbeat_is_an_event_for_those_that_want_one() -> None:
    hub = make_hub()
    wants = [replace(wanted, beats=True) for wanted in (Subscription(("a",)), KEYED, AB)]
    clients = [Client(hub, wanted).live() for wanted in wants]
    beat(hub)
    assert [c.data for c in clients] == [[sse.at(at)] for at in (b"0-0", b"0-0", b"a=0-0,b=0-0")]
    fan_out(hub, "a", event(5, "k"))
    for _ in range(2):
        beat(hub)
    assert [c.data[2:] for c in clients] == [
        [sse.at(at)] * 2 for at in (b"5-0", b"5-0", b"a=5-0,b=0-0")
    ]


def test_a_heartbeat_has_no_position_where_none_is_proven() -> None:
    hub = make_hub()
    lagging = Client(hub, replace(KEYED, beats=True), unreadable="rubbish")
    beat(hub)
    assert lagging.data == [sse.at(b"")]
    hub.windows["a"].restart(EventId(7, 0).before())
    start = {"a": EventId(7, 0).before()}
    live = Client(hub, replace(KEYED, beats=True), positions=start).live()
    beat(hub)
    assert live.data == [sse.at(b"")]


def test_a_position_that_no_single_id_can_restore_is_not_sent() -> None:
    hub = make_hub()
    hub.windows["a"].restart(EventId(7, 0).before())
    client = Client(hub, KEYED, positions={"a": EventId(7, 0).before()}).live()
    beat(hub)
    assert client.data == [sse.HEARTBEAT]


def test_the_farewell_has_the_position_of_every_client() -> None:
    hub = make_hub()
    clients = Client(hub, KEYED).live(), Client(hub, AB).live(), Client(hub, KEYED)
    fan_out(hub, "a", event(5, "other"))
    last = [farewell(c.subscriber, hub.proven(c.subscriber), 70) for c in clients]
    # The last one has read nothing yet. It comes back from where it came.
    assert last == [b"retry: 70\n" + sse.at(at) for at in (b"5-0", b"a=5-0,b=0-0", b"0-0")]


def test_the_farewell_before_the_reset_of_an_unreadable_cursor_has_no_position() -> None:
    hub = make_hub()
    client = Client(hub, KEYED, unreadable="rubbish")
    assert farewell(client.subscriber, hub.proven(client.subscriber), 70) == b"retry: 70\n"
    client.live()  # and was sent the reset
    assert farewell(client.subscriber, hub.proven(client.subscriber), 70) == (
        b"retry: 70\n" + sse.at(b"0-0")
    )


def test_the_farewell_of_an_expired_grant_says_so_and_has_the_position() -> None:
    hub = make_hub()
    live, new = Client(hub, KEYED).live(), Client(hub, KEYED, unreadable="rubbish")
    fan_out(hub, "a", event(5, "other"))
    last = [
        farewell(c.subscriber, hub.proven(c.subscriber), 70, Ending.EXPIRED) for c in (live, new)
    ]
    assert last == [
        b"retry: 70\nid: 5-0\nevent: stream.expired\ndata: {}\n\n",
        b"retry: 70\nevent: stream.expired\ndata: {}\n\n",
    ]


def test_a_client_without_a_worker_is_told_with_its_position_which_then_is_no_news() -> None:
    hub = make_hub()
    client = Client(hub, KEYED).live().subscriber
    fan_out(hub, "a", event(5, "other"))
    told = waiting(client, hub.proven(client), Waiting(1_500, 500))
    assert told == sse.waiting(1_500, 500, b"5-0")
    assert heartbeat(client, hub.proven(client), hub.windows) == sse.HEARTBEAT


def test_the_farewell_of_a_client_that_the_hub_does_not_know_yet_has_no_position() -> None:
    hub = make_hub()
    client = Client(hub, KEYED, positions={"a": ZERO})
    client.subscriber.resume = None
    assert hub.proven(client.subscriber) is None
