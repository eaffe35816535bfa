from collections.abc import Callable

import pytest

from broadcaster.core import sse
from broadcaster.core.event import ZERO, Event, EventId
from broadcaster.core.filter import KeysAndTypes
from broadcaster.core.hub import Hub
from broadcaster.core.page import Page, Pages
from broadcaster.core.sse import Frame
from broadcaster.core.subscription import Subscription
from broadcaster.core.window import Window
from tests.core.test_hub import AB, A, Client, event, fan_out, make_hub


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
