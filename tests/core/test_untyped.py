"""Events without their `event:` line."""

from __future__ import annotations

import pytest

from broadcaster.core import sse
from broadcaster.core.catalogue import DEMO
from broadcaster.core.event import Event, EventId
from broadcaster.core.hub import Hub
from broadcaster.core.sse import Frame
from broadcaster.core.subscription import Subscription
from tests.core.test_hub import Client, fan_out, make_hub

ORDERS, INVENTORY, RECOMMENDATIONS = DEMO.values()


def frame(ms: int, type_: str = "t", key: str = "k", data: bytes = b"d") -> Frame:
    return sse.encode(Event(EventId(ms, 0), type_, key, data))


def hub() -> Hub:
    return make_hub("inventory", "orders")


def test_only_the_line_with_the_type_is_left_out() -> None:
    bare = frame(1, data=b"a\nevent: x").without_type()
    assert bare.wire == b"id: 1-0\ndata: a\ndata: event: x\n\n"
    assert bare[:3] == (EventId(1, 0), "t", "k")
    assert bare.data == b"a\nevent: x"


def test_a_frame_without_a_type_or_without_bytes_stays_as_it_is() -> None:
    for same in (frame(1, "message"), sse.skipped(EventId(1, 0))):
        assert same.without_type() is same


def test_a_frame_is_made_once_for_all_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made, without_type = list[EventId](), Frame.without_type

    def noted(of: Frame) -> Frame:
        made.append(of.id)
        return without_type(of)

    monkeypatch.setattr(Frame, "without_type", noted)
    node = hub()
    for key in ((), ("k",), ("k", "l")):
        Client(node, Subscription.to([INVENTORY, ORDERS], key, names=False)).live()
    fan_out(node, "inventory", frame(1))
    assert made == [EventId(1, 0)]
    fan_out(node, "orders", frame(1))  # the same id in another stream
    assert made == [EventId(1, 0)] * 2


def test_those_with_and_without_types_get_the_same_events_but_not_the_same_bytes() -> None:
    made = hub()
    wants = [
        Subscription.to([INVENTORY], keys, types, names=names)
        for keys, types in (((), ()), ("k", ()), ((), "t"))
        for names in (True, False)
    ]
    clients = [Client(made, subscription).live() for subscription in wants]
    assert len({client.subscriber.subscription for client in clients}) == len(clients)
    fan_out(made, "inventory", frame(1), frame(2))
    typed = b"id: 1-0\nevent: t\ndata: d\n\nid: 2-0\nevent: t\ndata: d\n\n"
    bare = typed.replace(b"event: t\n", b"")
    assert [client.data for client in clients] == [[typed], [bare]] * 3
    made.lag(clients[1].subscriber)
    fan_out(made, "inventory", frame(3))
    clients[1].data.clear()
    clients[1].catch_up()
    assert clients[1].data == [b"id: 3-0\ndata: d\n\n"]
    assert clients[0].data[-1] == b"id: 3-0\nevent: t\ndata: d\n\n"


def test_a_terminal_event_keeps_its_type_and_ends_the_response() -> None:
    made = hub()
    client = Client(made, Subscription.to([ORDERS], ["k"], names=False)).live()
    all_orders = Client(made, Subscription.to([ORDERS], names=False)).live()
    fan_out(made, "orders", frame(1), frame(2, "complete"), frame(3))
    step, end, after = (
        b"id: 1-0\ndata: d\n\n",
        b"id: 2-0\nevent: complete\ndata: d\n\n",
        b"id: 3-0\ndata: d\n\n",
    )
    assert client.data == [step + end.replace(b"\n", b"\nretry: 30000\n", 1)]
    assert client.subscriber.ending == "complete"
    assert all_orders.data == [step + end + after]


def test_several_streams_keep_their_ids() -> None:
    made = hub()
    both = Client(made, Subscription.to([INVENTORY, ORDERS], names=False)).live()
    fan_out(made, "inventory", frame(1))
    fan_out(made, "orders", frame(1, "message"))
    fan_out(made, "orders", frame(2, "complete"))
    assert both.data == [
        b"id: inventory=1-0,orders=0-0\ndata: d\n\n",
        b"id: inventory=1-0,orders=1-0\ndata: d\n\n",
        b"id: inventory=1-0,orders=2-0\nevent: complete\ndata: d\n\n",
    ]


def test_a_run_is_followed_without_types_too() -> None:
    subscription = Subscription.to([RECOMMENDATIONS], ["you"], names=False)
    run = subscription.narrowed_to("you#1-0", EventId(1, 0))
    assert run.untyped == frozenset({"complete"})
    assert run.run == EventId(1, 0)
