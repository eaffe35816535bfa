from dataclasses import dataclass
from typing import Any

import pytest

from broadcaster.core import sse
from broadcaster.core.counters import from_zero
from broadcaster.core.event import ZERO, Event, EventId
from broadcaster.core.fanout import writes
from broadcaster.core.fanout.heartbeat import BEATS
from broadcaster.core.fanout.hub import Hub
from broadcaster.core.fanout.subscriber import State, Subscriber, unframed
from broadcaster.core.filter import Filter, KeysAndTypes
from broadcaster.core.history.window import Window
from broadcaster.core.log import Answer, AnyQuestion, Exists, PageAfter, Past
from broadcaster.core.resume.page import TERMINAL_RETRY_MS
from broadcaster.core.resume.steps import Ask, Greeting, Hello, Send
from broadcaster.core.sse import Frame
from broadcaster.core.subscription import Subscription
from broadcaster.core.wire import Ending, ResumeOutcome

A = Subscription(("a",))
AB = Subscription(("a", "b"))


def event(ms: int, key: str = "", type_: str = "t") -> Frame:
    return sse.encode(Event(EventId(ms, 0), type_, key, b"%d" % ms))


class Client:
    """A subscriber with a sink that keeps what it is given."""

    def __init__(self, hub: Hub, subscription: Subscription = A, **options: Any) -> None:
        self.hub = hub
        self.data: list[bytes] = []
        self.wakes = 0
        self.asked: Ask | None = None
        self.subscriber = Subscriber(
            subscription,
            write=self.data.append,
            wake=self.wake,
            pushed=options.get("pushed", True),
            framing=options.get("framing", unframed),
        )
        positions = options.get("positions", dict.fromkeys(subscription.streams, ZERO))
        resumed = options.get("resumed", False)
        greeting = Greeting(1, options.get("unreadable"))
        hub.add(self.subscriber, positions, greeting, resumed=resumed)

    def wake(self) -> None:
        self.wakes += 1

    def catch_up(self, max_bytes: int = 1 << 20) -> tuple[str, AnyQuestion] | None:
        """Do the work of its connection until it has to wait. Return the question for the log."""
        while self.subscriber.state is State.LAGGING:
            step = self.hub.advance(self.subscriber, max_bytes)
            if isinstance(step, Send):
                self.data += [part.data for part in step.parts if not isinstance(part, Hello)]
                continue
            if isinstance(step, Ask):
                self.asked = step
                return step.stream, step.question
            return None
        return None

    def answer(self, answer: Answer) -> bool:
        """Answer what was asked last."""
        assert self.asked is not None
        assert self.subscriber.resume is not None
        return self.subscriber.resume.answered(self.asked, answer)

    def live(self) -> "Client":
        assert self.catch_up() is None
        self.data.clear()
        return self


def make_hub(*streams: str) -> Hub:
    return Hub({name: Window(100, 100_000) for name in streams or ("a", "b")})


def fan_out(hub: Hub, stream: str, *frames: Frame) -> None:
    for _ in hub.fan_out(stream, frames):
        pass


def beat(hub: Hub, times: int = BEATS + 1) -> None:
    for _ in range(times):
        for _ in hub.beat():
            pass


def test_a_batch_is_one_write_for_each_live_subscriber() -> None:
    hub = make_hub()
    clients = [Client(hub).live() for _ in range(3)]
    fan_out(hub, "a", event(1), event(2))
    assert [client.data for client in clients] == [[event(1).wire + event(2).wire]] * 3
    assert hub.deliveries == 6


def bracketed(data: bytes) -> bytes:
    return b"[" + data + b"]"


def test_each_client_gets_bytes_in_the_framing_of_its_sink() -> None:
    hub = make_hub()
    clients = [Client(hub, framing=framing).live() for framing in (unframed, bracketed)]
    for ms in (1, 2):
        fan_out(hub, "a", event(ms))
    beat(hub)
    sent = [event(1).wire, event(2).wire, sse.HEARTBEAT]
    assert [client.data for client in clients] == [sent, [bracketed(data) for data in sent]]


def test_a_batch_is_framed_once_for_all_clients_of_a_framing() -> None:
    hub, framed = make_hub(), list[bytes]()

    def counted(data: bytes) -> bytes:
        framed.append(data)
        return bracketed(data)

    clients = [Client(hub, framing=counted).live() for _ in range(3)]
    fan_out(hub, "a", event(1), event(2))
    assert framed == [event(1).wire + event(2).wire]
    assert [client.data for client in clients] == [[bracketed(framed[0])]] * 3


def test_a_batch_of_skipped_entries_writes_nothing() -> None:
    hub = make_hub()
    client = Client(hub, framing=bracketed).live()
    fan_out(hub, "a", sse.skipped(EventId(1, 0)))
    assert client.data == []
    fan_out(hub, "a", event(2))
    assert client.data == [bracketed(event(2).wire)]


def test_keys_find_their_subscribers() -> None:
    hub = make_hub()
    one = Client(hub, Subscription(("a",), KeysAndTypes.of(["k"]))).live()
    two = Client(hub, Subscription(("a",), KeysAndTypes.of(["k", "l"]))).live()
    none = Client(hub, Subscription(("a",), KeysAndTypes.of(["m"]))).live()
    fan_out(hub, "a", event(1, "l"), event(2, "k"), event(3), event(4, "l"))
    assert one.data == [event(2).wire]
    assert two.data == [event(1).wire + event(2).wire + event(4).wire]
    assert none.data == []
    hub.remove(one.subscriber)
    fan_out(hub, "a", event(5, "k"))
    assert len(one.data) == 1
    assert two.data[1:] == [event(5).wire]


def test_several_streams_share_one_vector_as_id() -> None:
    hub = make_hub()
    clients = [Client(hub, AB).live() for _ in range(2)]
    fan_out(hub, "b", event(5))
    fan_out(hub, "a", event(7), event(8))
    for client in clients:
        assert client.data == [
            b"id: a=0-0,b=5-0\nevent: t\ndata: 5\n\n",
            b"id: a=7-0,b=5-0\nevent: t\ndata: 7\n\nid: a=8-0,b=5-0\nevent: t\ndata: 8\n\n",
        ]


def test_a_newcomer_catches_up_and_gets_stream_live() -> None:
    hub = make_hub()
    fan_out(hub, "a", event(1), event(2))
    client = Client(hub)
    assert client.catch_up() is None
    assert client.data == [event(1).wire + event(2).wire, sse.live(b"2-0", 2)]
    assert client.subscriber.state is State.LIVE


def test_a_merge_of_streams_is_ordered_by_id() -> None:
    hub = make_hub()
    fan_out(hub, "a", event(1), event(4))
    fan_out(hub, "b", event(2), event(3))
    client = Client(hub, AB)
    client.catch_up()
    assert [line for line in client.data[0].split(b"\n") if line.startswith(b"id")] == [
        b"id: a=1-0,b=0-0",
        b"id: a=1-0,b=2-0",
        b"id: a=1-0,b=3-0",
        b"id: a=4-0,b=3-0",
    ]


@pytest.mark.parametrize("max_bytes", [1, 60, 100, 1000])
def test_streams_are_merged_from_page_to_page(max_bytes: int) -> None:
    hub = make_hub()
    fan_out(hub, "a", *(event(ms, type_="tu"[ms > 8]) for ms in (1, 3, 4, 5, 7, 9)))
    fan_out(hub, "b", *(event(ms) for ms in (2, 6, 8, 10)))
    for types, wanted in ((frozenset[str](), range(1, 11)), (frozenset({"u"}), [9])):
        client = Client(hub, Subscription(("a", "b"), KeysAndTypes.of(types=types)))
        assert client.catch_up(max_bytes) is None
        lines = b"".join(client.data).split(b"\n")
        assert [line for line in lines if line[:7].strip(b"0123456789") == b"data: "] == [
            b"data: %d" % ms for ms in wanted
        ]
        assert client.subscriber.state is State.LIVE


def test_pages_in_which_everything_is_filtered_out_are_passed() -> None:
    hub = make_hub()
    fan_out(hub, "a", *(event(ms) for ms in range(1, 50)), event(50, type_="u"))
    client = Client(hub, Subscription(("a",), KeysAndTypes.of(types=["u"])))
    assert client.catch_up(max_bytes=30) is None
    assert b"".join(client.data) == event(50, type_="u").wire + sse.live(b"50-0", 1)


def test_a_full_socket_is_left_out_and_catches_up() -> None:
    hub = make_hub()
    slow, other = Client(hub).live(), Client(hub).live()
    hub.lag(slow.subscriber)
    hub.lag(slow.subscriber)  # again: nothing happens
    fan_out(hub, "a", event(1))
    fan_out(hub, "a", event(2))
    assert (slow.data, len(other.data)) == ([], 2)
    assert slow.catch_up() is None
    assert slow.data == [event(1).wire + event(2).wire]
    fan_out(hub, "a", event(3))
    assert slow.data[1:] == [event(3).wire]


def test_a_subscriber_with_an_asgi_sink_is_woken_and_reads_from_the_window() -> None:
    hub = make_hub()
    client = Client(hub, pushed=False).live()
    fan_out(hub, "a", event(1))
    assert (client.data, client.wakes) == ([], 1)
    assert client.catch_up() is None
    assert client.data == [event(1).wire]


def test_the_terminal_event_ends_live_and_replayed_responses() -> None:
    hub = make_hub()
    order = Subscription(("a",), KeysAndTypes.of(["k"]), terminal=frozenset({"end"}))
    live = Client(hub, order).live()
    fan_out(hub, "a", event(1, "k"), event(2, "k", "end"), event(3, "k"))
    late = Client(hub, order)
    assert late.catch_up() is None
    end = event(1, "k").wire + event(2, "k", "end").with_retry(TERMINAL_RETRY_MS).wire
    assert live.data == late.data == [end]
    assert live.subscriber.state is late.subscriber.state is State.ENDED
    assert live.subscriber.ending is late.subscriber.ending is Ending.COMPLETE
    assert live.wakes == 1


def test_the_beginning_of_a_stream_that_was_made_anew_is_that_of_two_histories() -> None:
    hub = make_hub()
    for stream, parted in (("a", None), ("b", ZERO)):
        hub.restart(stream, EventId(2, 0), complete=True, parted=parted)
    assert [ZERO in hub.windows[stream].dropped for stream in "ab"] == [False, True]


def test_farewell() -> None:
    hub = make_hub()
    client = Client(hub).live()
    hub.end(client.subscriber, Ending.DRAIN, b"bye")
    hub.end(client.subscriber, Ending.COMPLETE, b"again")
    assert (client.subscriber.farewell, client.wakes) == (b"bye", 1)
    assert client.subscriber.ending is Ending.DRAIN
    fan_out(hub, "a", event(1))
    assert client.data == []


def test_the_log_is_asked_about_positions_before_the_window() -> None:
    hub = make_hub()
    hub.windows["a"].restart(EventId(5, 0))
    behind = Client(hub, resumed=True)
    assert behind.catch_up() == ("a", PageAfter(ZERO))
    assert behind.answer(Past([event(3), event(5)], EventId(5, 0), proven=True))
    assert behind.catch_up() is None
    assert behind.data == [event(3).wire + event(5).wire, sse.live(b"5-0", 2)]
    assert +hub.resumes == {"redis": 1}


def test_a_replay_ends_with_the_terminal_event() -> None:
    hub = make_hub()
    hub.windows["a"].restart(EventId(5, 0))
    order = Client(hub, Subscription(("a",), KeysAndTypes.of(["k"]), terminal=frozenset({"end"})))
    page = [event(1, "k", "end"), event(2, "k")]
    order.catch_up()
    order.answer(Past(page, EventId(2, 0), proven=True))
    order.catch_up()
    assert order.data == [page[0].with_retry(TERMINAL_RETRY_MS).wire]
    assert order.subscriber.state is State.ENDED


def test_a_subscriber_ahead_of_this_node_waits_for_it() -> None:
    hub = make_hub()
    client = Client(hub, positions={"a": EventId(2, 0)})
    assert client.catch_up() == ("a", Exists(EventId(2, 0)))
    client.answer(True)
    assert client.catch_up() is None
    assert client.subscriber.state is State.LAGGING
    fan_out(hub, "a", event(1), event(2), event(3))
    assert client.wakes == 1
    assert client.catch_up() is None
    assert client.data == [event(3).wire, sse.live(b"3-0", 1)]


def test_a_subscriber_that_has_left_is_waited_for_no_more() -> None:
    hub = make_hub()
    client = Client(hub, positions={"a": EventId(2, 0)})
    client.catch_up()
    client.answer(True)
    client.catch_up()
    hub.remove(client.subscriber)
    wakes = client.wakes
    fan_out(hub, "a", event(1))
    assert client.wakes == wakes


def test_an_id_that_no_entry_has_is_a_reset_to_the_entry_before_it() -> None:
    hub = make_hub()
    fan_out(hub, "a", event(2), event(6))
    client = Client(hub, positions={"a": EventId(4, 0)})
    assert client.catch_up() is None
    assert client.data == [
        sse.reset("a", "unknown", "4-0", "2-0", b"2-0"),
        event(6).wire,
        sse.live(b"6-0", 1),
    ]


def test_a_reset_without_an_entry_to_stand_on_has_no_id() -> None:
    hub = make_hub()
    hub.windows["a"].restart(EventId(5, 0).before())
    client = Client(hub)
    client.catch_up()
    client.answer(Past([], ZERO, proven=False))
    assert client.catch_up() is None
    assert client.data[0].startswith(b"event: stream.reset\n")


def test_a_changed_history_makes_all_subscribers_of_the_stream_catch_up() -> None:
    hub = make_hub()
    fan_out(hub, "a", event(1), event(2))
    past, both, other = (
        Client(hub).live(),
        Client(hub, AB).live(),
        Client(hub, Subscription(("b",))),
    )
    other.live()
    hub.rewind("a", EventId(1, 0))
    assert other.subscriber.state is State.LIVE
    # The new history has an entry with the id that they have seen, and it is another one.
    fan_out(hub, "a", event(2))
    for client in (past, both):
        client.catch_up()
        told = b"".join(client.data)
        assert b'"reason":"rollback"' in told
        assert b'"resumed":"1-0"' in told
    hub.restart("a", EventId(9, 0), complete=True)
    assert past.catch_up() == ("a", PageAfter(EventId(2, 0)))


def test_a_reused_id_is_trusted_only_if_it_was_sent_after_the_rewind() -> None:
    hub = make_hub()
    fan_out(hub, "a", event(1), event(2))
    hub.rewind("a", EventId(1, 0))
    fan_out(hub, "a", event(2))
    seen = {"a": EventId(2, 0)}
    back = Client(hub, positions=seen, resumed=True)
    back.catch_up()
    assert b'"rollback"' in back.data[0]
    assert b"id: 2-0\nevent: t" in back.data[1]
    anew = Client(hub, positions=dict(seen)).live()
    hub.lag(anew.subscriber)
    anew.live()
    assert +hub.resets == {("a", "rollback"): 1}


def test_an_id_that_was_confirmed_is_asked_about_again_after_a_rewind() -> None:
    hub = make_hub()
    ahead, live = Client(hub, positions={"a": EventId(2, 0)}), Client(hub).live()
    asked = ahead.catch_up()
    ahead.answer(True)
    assert ahead.catch_up() is None
    assert set(hub.rewind("a", ZERO)) == {ahead.subscriber, live.subscriber}
    assert ahead.catch_up() == asked
    live.live()
    concerned = hub.restart("a", EventId(9, 0), complete=True)
    assert (live.subscriber.state, set(concerned)) == (
        State.LAGGING,
        {ahead.subscriber, live.subscriber},
    )


def test_a_second_stream_live_follows_a_reset() -> None:
    hub = make_hub()
    fan_out(hub, "a", event(1), event(2))
    client = Client(hub).live()
    hub.rewind("a", EventId(1, 0))
    fan_out(hub, "a", event(3))
    assert client.catch_up() is None
    reset = sse.reset("a", "rollback", "2-0", "1-0", b"1-0")
    assert client.data == [reset, event(3).wire, sse.live(b"3-0", 1)]


def test_only_the_quiet_get_a_heartbeat() -> None:
    hub = make_hub()
    quiet = Client(hub, Subscription(("b",))).live()
    busy = Client(hub).live()
    for ms in range(1, 3 * BEATS):
        fan_out(hub, "a", event(ms))
        beat(hub, 1)
    assert quiet.data == [sse.HEARTBEAT] * 2
    assert sse.HEARTBEAT not in busy.data


def test_a_heartbeat_moves_the_cursor_of_a_filtered_subscriber() -> None:
    hub = make_hub()
    client = Client(hub, Subscription(("a",), KeysAndTypes.of(["k"]))).live()
    fan_out(hub, "a", event(5, "other"))
    beat(hub)
    assert client.data == [sse.at(b"5-0")]
    beat(hub)
    assert client.data[1:] == [sse.HEARTBEAT]


def test_a_heartbeat_does_not_move_the_cursor_of_a_lagging_subscriber() -> None:
    hub = make_hub()
    client = Client(hub, Subscription(("a",), KeysAndTypes.of(["k"]))).live()
    hub.lag(client.subscriber)
    fan_out(hub, "a", event(5, "k"))
    beat(hub)
    assert client.data == [sse.HEARTBEAT]  # `stream.live` said 0-0


def test_others_may_run_between_two_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writes, "SLICE", 1)
    hub = make_hub()
    clients = [Client(hub).live() for _ in range(3)]
    written = {sum(len(c.data) for c in clients) for _ in range(BEATS + 1) for _ in hub.beat()}
    assert written == {1, 2, 3}


def test_no_heartbeat_for_the_blocked_and_the_ended() -> None:
    hub = make_hub()
    blocked, ended, lagging = Client(hub).live(), Client(hub).live(), Client(hub)
    blocked.subscriber.blocked = True
    hub.end(ended.subscriber, Ending.COMPLETE)
    beat(hub)
    assert (blocked.data, ended.data, lagging.data) == ([], [], [sse.HEARTBEAT])


def test_between_slices_anything_may_happen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writes, "SLICE", 1)
    hub = make_hub()
    clients = [Client(hub).live() for _ in range(4)]
    round_ = hub.fan_out("a", [event(1)])
    next(round_)
    (first,) = (client for client in clients if client.data)
    leaver, stayer, rejoiner = (client for client in clients if not client.data)
    hub.remove(leaver.subscriber)
    hub.lag(first.subscriber)  # it has the batch
    hub.lag(stayer.subscriber)  # it has not
    hub.lag(rejoiner.subscriber)
    assert rejoiner.catch_up() is None  # reads it from the window, and is live again
    newcomer = Client(hub, positions={"a": EventId(1, 0)}).live()
    for _ in round_:
        pass
    assert (first.data, rejoiner.data) == ([event(1).wire], [event(1).wire])
    assert (leaver.data, newcomer.data, stayer.data) == ([], [], [])
    assert first.catch_up() is stayer.catch_up() is None
    assert (first.data, stayer.data) == ([event(1).wire], [event(1).wire])


def test_audiences_of_few_share_a_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writes, "SLICE", 10)
    hub, keys = make_hub(), [f"k{n}" for n in range(40)]
    clients = [Client(hub, Subscription(("a",), KeysAndTypes.of([key]))).live() for key in keys]
    turns = list(hub.fan_out("a", [event(n, key) for n, key in enumerate(keys, 1)]))
    assert len(turns) == 4
    assert all(len(client.data) == 1 for client in clients)


def test_events_that_were_not_written_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writes, "SLICE", 1)
    hub = make_hub()
    clients = [Client(hub).live() for _ in range(3)]
    round_ = hub.fan_out("a", [event(1)])
    next(round_)
    gone, late = (client for client in clients if not client.data)
    hub.remove(gone.subscriber)
    hub.lag(late.subscriber)
    list(round_)
    assert hub.deliveries == 1
    late.catch_up()
    assert hub.deliveries == 2


def test_events_and_deliveries_are_counted() -> None:
    hub = make_hub()
    live, lagging = Client(hub, resumed=True).live(), Client(hub)
    assert (hub.live, len(hub.subscribers)) == (1, 2)
    fan_out(hub, "a", event(1))
    lagging.live()
    assert hub.deliveries == 2
    assert hub.delivered_bytes == 2 * len(live.data[0])
    assert +hub.resumes == {"window": 1}
    fan_out(hub, "a", event(2))
    assert hub.delivered_bytes == 4 * len(live.data[0])


def test_a_lagging_subscriber_gets_the_terminal_event_before_its_response_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writes, "SLICE", 1)
    hub = make_hub()
    order = Subscription(("a",), KeysAndTypes.of(["k"]), terminal=frozenset({"end"}))
    clients = [Client(hub, order).live() for _ in range(3)]
    end = event(1, "k", "end")
    round_ = hub.fan_out("a", [end])
    next(round_)
    late = next(client for client in clients if not client.data)
    hub.lag(late.subscriber)
    for _ in round_:
        pass
    assert late.subscriber.state is State.LAGGING
    late.catch_up()
    last = end.with_retry(TERMINAL_RETRY_MS).wire
    assert [client.data for client in clients] == [[last]] * 3
    assert {client.subscriber.state for client in clients} == {State.ENDED}


def test_a_replay_of_nothing_gets_heartbeats_that_move_its_cursor() -> None:
    hub = make_hub()
    hub.windows["a"].restart(EventId(100, 0))
    keyed = Subscription(("a",), KeysAndTypes.of(["k"]))
    client = Client(hub, keyed, positions={"a": EventId(1, 0)}, resumed=True)
    assert client.catch_up() == ("a", PageAfter(EventId(1, 0)))
    beat(hub)
    assert client.data == [sse.HEARTBEAT]  # nothing is proven yet
    for ms in range(2, 2 + 2 * BEATS):
        client.answer(Past([event(ms, "other")], EventId(ms, 0), proven=True))
        assert client.catch_up() == ("a", PageAfter(EventId(ms, 0)))
        beat(hub, 1)
    assert client.data[1:] == [sse.at(b"%d-0" % ms) for ms in (15, 30)]


def test_events_in_the_window_are_not_read_from_redis() -> None:
    hub = make_hub()
    hub.windows["a"].restart(EventId(3, 0))
    client = Client(hub, positions={"a": EventId(1, 0)})
    assert client.catch_up() == ("a", PageAfter(EventId(1, 0)))
    new = sse.encode(Event(EventId(4, 0), "t", "", b"new"))
    fan_out(hub, "a", new)
    page = [event(2), event(3), event(4)]  # of the old master
    client.answer(Past(page, EventId(4, 0), proven=True))
    assert client.catch_up() is None
    assert client.data == [page[0].wire + page[1].wire, new.wire, sse.live(b"4-0", 3)]


def test_an_id_ahead_of_this_node_is_asked_about_again_after_each_batch() -> None:
    hub = make_hub()
    nine = EventId(9, 0)
    client = Client(hub, AB, positions={"a": nine, "b": nine})
    assert client.catch_up() == ("a", Exists(nine))
    client.answer(True)
    assert client.catch_up() == ("b", Exists(nine))
    client.answer(True)
    assert client.catch_up() is None
    fan_out(hub, "a", event(1))
    assert client.wakes == 1
    assert client.catch_up() == ("a", Exists(nine))
    client.answer(True)
    fan_out(hub, "a", event(9))
    assert client.catch_up() is None  # what the log has said of the other stream still holds
    beat(hub)  # also where nothing comes
    assert client.catch_up() == ("b", Exists(nine))


def test_a_round_that_fails_is_made_up_for_by_catching_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writes, "SLICE", 1)
    hub = make_hub()
    clients = [Client(hub).live() for _ in range(4)]
    round_ = hub.fan_out("a", [event(1)])
    next(round_)
    broken = next(client for client in clients if not client.data)
    broken.subscriber.write = fail
    with pytest.raises(RuntimeError):
        list(round_)
    hub.remove(broken.subscriber)
    clients.remove(broken)
    fan_out(hub, "a", event(2))
    for client in clients:
        assert client.wakes == 1
        client.catch_up()
        assert b"".join(client.data) == event(1).wire + event(2).wire


def fail(_: bytes) -> None:
    raise RuntimeError


def test_an_ended_subscriber_learns_of_no_change() -> None:
    hub = make_hub()
    fan_out(hub, "a", event(1), event(2))
    ended = Client(hub).live()
    hub.end(ended.subscriber, Ending.DRAIN, b"bye")
    hub.rewind("a", EventId(1, 0))
    hub.restart("a", EventId(9, 0), complete=True)
    assert ended.subscriber.state is State.ENDED
    assert ended.data == []


@pytest.mark.parametrize("complete", [True, False])
def test_a_window_that_begins_anew_knows_if_redis_has_more(complete: bool) -> None:
    hub = make_hub()
    hub.restart("a", EventId(9, 0), complete=complete)
    assert (hub.windows["a"].floor, hub.windows["a"].complete) == (EventId(9, 0), complete)


def test_a_response_that_ends_before_it_begins_has_only_its_farewell() -> None:
    hub = make_hub()
    subscriber = Subscriber(A, write=lambda _: None, wake=lambda: None, pushed=True)
    hub.end(subscriber, Ending.DRAIN, b"bye")
    hub.add(subscriber, {"a": ZERO}, Greeting(1))
    assert (subscriber.state, subscriber.farewell) == (State.ENDED, b"bye")
    assert subscriber.resume is None


def test_a_filter_that_fails_concerns_its_own_clients_alone() -> None:
    @dataclass(frozen=True)
    class Fails(Filter):
        number: int

        def admits(self, frame: Frame) -> bool:
            if frame.id.ms > 1:
                raise ZeroDivisionError
            return True

    hub = make_hub("a")
    typed = Subscription(("a",), KeysAndTypes.of(types=["t"]))
    failing = [Client(hub, Subscription(("a",), Fails(n))).live() for n in range(8)]
    others = [Client(hub, typed).live(), Client(hub).live()]
    fan_out(hub, "a", event(2))
    assert [(one.subscriber.state, one.data) for one in failing] == [(State.LAGGING, [])] * 8
    assert [other.data for other in others] == [[event(2).wire]] * 2
    with pytest.raises(ZeroDivisionError):
        failing[0].catch_up()


def test_a_filter_that_leaves_out_a_batch_concerns_its_own_clients_alone() -> None:
    hub = make_hub("a")

    def clients(*types: str) -> list[Client]:
        filters = [KeysAndTypes.of(types=[*types, f"u{number}"]) for number in range(8)]
        return [Client(hub, Subscription(("a",), one)).live() for one in filters]

    without, others = clients(), clients("t")
    fan_out(hub, "a", event(1))
    assert [client.data for client in (*without, *others)] == [[]] * 8 + [[event(1).wire]] * 8


def test_a_response_that_ends_without_last_words_has_none() -> None:
    hub = make_hub()
    client = Client(hub).live()
    hub.end(client.subscriber, Ending.COMPLETE)
    assert client.subscriber.farewell == b""


def test_clients_that_resume_are_counted_and_newcomers_are_not() -> None:
    hub = make_hub()
    fan_out(hub, "a", event(1), event(2))
    for _ in range(2):
        Client(hub, positions={"a": EventId(1, 0)}, resumed=True).live()
    newcomer = Subscriber(A, write=_ignored, wake=lambda: None, pushed=True)
    hub.add(newcomer, {"a": EventId(1, 0)}, Greeting(1))
    while newcomer.state is State.LAGGING:
        hub.advance(newcomer)
    assert hub.resumes == {**from_zero(*ResumeOutcome), ResumeOutcome.WINDOW: 2}


def _ignored(_: bytes) -> None:
    return


def test_the_subscribers_of_a_run_are_known_until_they_leave() -> None:
    hub = Hub({"a": Window(10, 10_000)})
    run, none = EventId(7, 0), EventId(8, 0)
    subscription = A.narrowed_to("k#7-0", run)
    one, another = Client(hub, subscription).subscriber, Client(hub, subscription).subscriber
    Client(hub)
    assert set(hub.subscribers.of_run(run)) == {one, another}
    assert list(hub.subscribers.runs) == [run]
    hub.remove(one)
    assert hub.subscribers.of_run(run) == (another,)
    for subscriber in (one, another, another):
        hub.remove(subscriber)
    assert hub.subscribers.of_run(run) == hub.subscribers.of_run(none) == ()
    assert not hub.subscribers.runs
    assert len(hub.subscribers) == 1
