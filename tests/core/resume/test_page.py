from collections.abc import Callable

import pytest

from broadcaster.core import sse
from broadcaster.core.catalogue import DEMO
from broadcaster.core.event import ZERO, Event, EventId
from broadcaster.core.fanout.hub import Hub
from broadcaster.core.filter import KeysAndTypes
from broadcaster.core.history.window import Window
from broadcaster.core.resume.page import Page, Pages
from broadcaster.core.sse import Frame
from broadcaster.core.subscription import Subscription
from tests.core.fanout.test_hub import AB, A, Client, event, fan_out, make_hub

ORDERS, INVENTORY, _ = DEMO.values()


def windows(count: int = 5) -> dict[str, Window]:
    made = {name: Window(100, 100_000) for name in ("a", "b")}
    made["a"].append([event(ms) for ms in range(1, count + 1)])
    return made


def is_made(pages: Pages, page: Page, subscription: Subscription = A, ms: int = 0) -> bool:
    positions = {name: EventId(ms, 0) if ms else ZERO for name in subscription.streams}
    return pages.after(subscription, positions, subscription.streams) is not page


def test_a_herd_shares_its_pages() -> None:
    pages = Pages(windows())
    page = pages.after(A, {"a": ZERO}, A.streams)
    assert (page.data.count(b"id: "), page.events, page.exhausted) == (5, 5, True)
    assert page.positions == {"a": EventId(5, 0)}
    assert not is_made(pages, page, Subscription(("a",)))
    assert is_made(pages, page, ms=1)
    assert is_made(pages, page, AB)
    assert is_made(pages, page, Subscription(("a",), KeysAndTypes.of(types=["other"])))


def test_the_pages_of_many_places_do_not_pile_up() -> None:
    pages = Pages(windows(40))
    first = pages.after(A, {"a": ZERO}, A.streams)
    for ms in range(1, 17):
        pages.after(A, {"a": EventId(ms, 0)}, A.streams)
    assert is_made(pages, first)
    assert pages.after(A, {"a": ZERO}, A.streams) == first


@pytest.mark.parametrize(("types", "left_out"), [((), 0.0), (("t",), 0.25), (("no",), 1.0)])
def test_a_page_says_how_much_of_it_the_filter_left_out(
    types: tuple[str, ...], left_out: float
) -> None:
    window = Window(100, 100_000)
    window.append([event(ms, type_="t" if ms % 4 else "other") for ms in range(1, 9)])
    subscription = Subscription(("a",), KeysAndTypes.of(types=types))
    assert Pages({"a": window}).after(subscription, {"a": ZERO}, ("a",)).left_out == left_out
    assert Pages({"a": Window(1, 1)}).after(subscription, {"a": ZERO}, ("a",)).left_out == 0.0


def test_subscribers_that_share_a_page_go_on_separately() -> None:
    hub = make_hub("a")
    fan_out(hub, "a", event(1), event(2))
    first, second = Client(hub).live(), Client(hub)
    fan_out(hub, "a", event(3))
    second.live()
    assert first.data == [event(3).wire]
    assert hub.deliveries == 2 + 1 + 3


def ending(*streams: str, types: tuple[str, ...] = ()) -> Subscription:
    return Subscription(streams, KeysAndTypes.of(["k"], types), terminal=frozenset({"end"}))


@pytest.mark.parametrize(
    ("subscription", "id_"),
    [
        (ending("a"), b"2-0"),
        (ending("a", types=("end",)), b"2-0"),
        (ending("a", "b"), b"a=2-0,b=0-0"),
        (Subscription(("a",), KeysAndTypes.of(["k"]), frozenset({"end"}), EventId(7, 0)),
         b"a=2-0,run=7-0"),
        (Subscription(("a",), KeysAndTypes.of(["k"]), frozenset({"end"}), sharded=True), b"a=2-0"),
    ],
)  # fmt: skip
def test_a_terminal_event_says_not_to_come_back_soon_in_its_own_block(
    subscription: Subscription, id_: bytes
) -> None:
    hub = Hub({name: Window(100, 100_000) for name in ("a", "b")}, terminal_retry_ms=4000)
    live = Client(hub, subscription).live()
    fan_out(hub, "a", event(1, "k"), event(2, "k", "end"), event(3, "k"))
    late = Client(hub, subscription)
    late.catch_up()
    block = b"id: %b\nretry: 4000\nevent: end\ndata: 2\n\n" % id_
    for client in (live, late):
        assert b"".join(client.data).endswith(block)
        assert b"".join(client.data).count(b"retry: ") == 1


def test_an_event_that_ends_only_other_responses_carries_no_retry() -> None:
    hub = make_hub("a")
    order, all_orders = Client(hub, ending("a")).live(), Client(hub).live()
    fan_out(hub, "a", event(1, "k", "end"))
    late = Client(hub)
    late.catch_up()
    assert b"retry: " in b"".join(order.data)
    assert all_orders.data == late.data[:1] == [event(1, "k", "end").wire]


def other(ms: int) -> Frame:
    return sse.encode(Event(EventId(ms, 0), "t", "", b"of another history"))


def append(hub: Hub) -> None:
    fan_out(hub, "a", other(3))


def rewind(hub: Hub) -> None:
    hub.rewind("a", EventId(1, 0))
    hub.windows["a"].append([other(2), other(3)])


def restart(hub: Hub) -> None:
    hub.restart("a", ZERO, complete=True)
    hub.windows["a"].append([other(2), other(3)])


@pytest.mark.parametrize("change", [append, rewind, restart])
def test_a_page_is_made_anew_when_its_window_has_changed(change: Callable[[Hub], None]) -> None:
    hub = make_hub("a")
    fan_out(hub, "a", event(1), event(2))
    Client(hub).live()
    change(hub)
    late = Client(hub)
    late.catch_up()
    assert b"of another history" in late.data[0]
    assert late.data[-1].startswith(b"id: 3-0\nevent: stream.live\n")


def frame(ms: int, type_: str = "t", key: str = "k", data: bytes = b"d") -> Frame:
    return sse.encode(Event(EventId(ms, 0), type_, key, data))


def test_a_frame_is_made_once_for_all_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made, without_type = list[EventId](), Frame.without_type

    def noted(of: Frame) -> Frame:
        made.append(of.id)
        return without_type(of)

    monkeypatch.setattr(Frame, "without_type", noted)
    node = make_hub("inventory", "orders")
    for key in ((), ("k",), ("k", "l")):
        Client(node, Subscription.to([INVENTORY, ORDERS], key, names=False)).live()
    fan_out(node, "inventory", frame(1))
    assert made == [EventId(1, 0)]
    fan_out(node, "orders", frame(1))  # the same id in another stream
    assert made == [EventId(1, 0)] * 2


def test_those_with_and_without_types_get_the_same_events_but_not_the_same_bytes() -> None:
    made = make_hub("inventory", "orders")
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
    made = make_hub("inventory", "orders")
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
    made = make_hub("inventory", "orders")
    both = Client(made, Subscription.to([INVENTORY, ORDERS], names=False)).live()
    fan_out(made, "inventory", frame(1))
    fan_out(made, "orders", frame(1, "message"))
    fan_out(made, "orders", frame(2, "complete"))
    assert both.data == [
        b"id: inventory=1-0,orders=0-0\ndata: d\n\n",
        b"id: inventory=1-0,orders=1-0\ndata: d\n\n",
        b"id: inventory=1-0,orders=2-0\nevent: complete\ndata: d\n\n",
    ]
