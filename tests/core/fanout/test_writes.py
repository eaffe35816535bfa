"""A round of writes: slices, counts, and the subscribers whose responses are over."""

from __future__ import annotations

import pytest

from broadcaster.core.fanout import writes
from broadcaster.core.fanout.subscriber import State, Subscriber, unframed
from broadcaster.core.fanout.writes import Round
from broadcaster.core.subscription import Subscription

TICK = 7


def bracketed(data: bytes) -> bytes:
    return b"<" + data + b">"


def live(taken: list[bytes], tick: int = 0) -> Subscriber:
    subscriber = Subscriber(
        Subscription(("a",)), write=taken.append, wake=lambda: None, pushed=True
    )
    subscriber.state, subscriber.tick = State.LIVE, tick
    return subscriber


def test_each_live_subscriber_gets_the_bytes_once() -> None:
    taken: list[bytes] = []
    subscribers = live(taken), live(taken), live(taken, TICK)
    subscribers[1].state = State.LAGGING
    another = (live(taken),)
    round_ = Round(TICK)
    deliveries = [(subscribers, bracketed, b"data", 2, False), (another, unframed, b"d", 1, False)]
    assert list(round_.write(deliveries)) == []
    assert taken == [b"<data>", b"d"]
    assert (round_.events, round_.bytes, round_.over) == (3, 5, [])


def test_a_round_names_the_subscribers_that_got_the_last_event() -> None:
    taken: list[bytes] = []
    reached, lagging = live(taken), live(taken)
    lagging.state = State.LAGGING
    round_ = Round(TICK)
    list(round_.write([((reached, lagging), unframed, b"end", 1, True)]))
    assert round_.over == [reached]
    another = live(taken)
    list(round_.write([((another,), unframed, b"end", 1, True)]))
    assert round_.over == [reached, another]
    assert reached.state is State.LIVE  # to end it is the hub's


def test_others_get_a_turn_after_each_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writes, "SLICE", 2)
    taken: list[bytes] = []
    many, few = tuple(live(taken) for _ in range(5)), tuple(live(taken) for _ in range(1))
    round_ = Round(TICK).write([(many, unframed, b"x", 1, False), (few, unframed, b"y", 1, False)])
    assert [len(taken) for _ in round_] == [2, 4, 6]


def test_small_audiences_share_a_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writes, "SLICE", 3)
    taken: list[bytes] = []
    audiences = [((live(taken),), unframed, b"x", 1, False) for _ in range(5)]
    assert [len(taken) for _ in Round(TICK).write(audiences)] == [3]
    assert len(taken) == 5
