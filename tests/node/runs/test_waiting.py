"""The clients of a run that no worker has are told so, if they can be."""

from __future__ import annotations

import json
from collections.abc import Iterator

from broadcaster.core.catalogue import PET_STORE
from broadcaster.core.event import Event, EventId
from broadcaster.core.fanout.hub import Hub
from broadcaster.core.fanout.subscriber import State, Subscriber
from broadcaster.core.history.window import Window
from broadcaster.core.resume.steps import Greeting, Send
from broadcaster.core.runs.silent import Waiting
from broadcaster.core.sse import encode
from broadcaster.core.subscription import Subscription
from broadcaster.node.runs.waiting import Followed, tell

STREAM = "recommendations"
MADE = PET_STORE[STREAM]
RUN, OTHER = EventId(7, 1), EventId(8, 1)
LONG = Waiting(2_500, 500)


class Desk:
    """A hub, and the bytes that its clients were written."""

    def __init__(self) -> None:
        self.hub = Hub({STREAM: Window(10, 10_000), "inventory": Window(10, 10_000)})
        self.followed = Followed(self.hub, MADE)
        self.written: list[bytes] = []

    def client(self, run: EventId = RUN, stream: str = STREAM) -> Subscriber:
        made = Subscriber(
            subscription=Subscription.to((MADE,), ("u",)).narrowed_to(f"u#{run}", run),
            write=self.written.append,
            wake=lambda: None,
            pushed=True,
        )
        self.hub.add(made, {stream: self.hub.windows[stream].head}, Greeting(1))
        return made

    def live(self, run: EventId = RUN) -> Subscriber:
        made = self.client(run)
        while made.state is State.LAGGING:
            assert isinstance(self.hub.advance(made), Send)
        return made

    def publish(self, run: EventId) -> None:
        id_ = EventId(1, self.hub.windows[STREAM].head.seq + 1)
        frame = encode(Event(id_, "piece", f"u#{run}", b"a"))
        rounds: Iterator[None] = self.hub.fan_out(STREAM, [frame])
        for _ in rounds:
            pass


def test_followers_are_told_for_how_long_no_worker_has_their_run() -> None:
    desk = Desk()
    desk.live()
    desk.live(OTHER)
    tell(desk.hub, RUN, LONG)
    (written,) = desk.written
    id_, type_, data, *_ = written.decode().splitlines()
    assert id_ == "id: recommendations=0-0,run=7-1"
    assert type_ == "event: stream.waiting"
    assert json.loads(data.removeprefix("data: ")) == {"waited_ms": 2_500, "left_ms": 500}


def test_what_is_not_worth_an_event() -> None:
    desk = Desk()
    desk.live()
    tell(desk.hub, RUN, Waiting(999, 500))
    tell(desk.hub, RUN, Waiting(2_500, 0))
    assert desk.written == []


def test_clients_that_are_behind_or_do_not_read_are_told_later() -> None:
    desk = Desk()
    desk.client()
    desk.live().blocked = True
    tell(desk.hub, RUN, LONG)
    assert desk.written == []


def test_only_runs_without_an_event_are_looked_at_and_those_whose_worker_is_gone() -> None:
    desk = Desk()
    desk.live()
    desk.live(OTHER)
    desk.publish(OTHER)
    assert desk.followed.to_look_at([]) == [RUN]
    assert desk.followed.to_look_at([OTHER, EventId(9, 9)]) == [OTHER]
    assert Followed(desk.hub, PET_STORE["inventory"]).to_look_at([]) == []
