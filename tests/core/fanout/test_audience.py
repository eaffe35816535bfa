"""The index of live subscribers, by stream and key."""

from __future__ import annotations

from broadcaster.core import sse
from broadcaster.core.event import Event, EventId
from broadcaster.core.fanout.audience import Audience, Audiences
from broadcaster.core.fanout.subscriber import Framing, Subscriber, unframed
from broadcaster.core.filter import KeysAndTypes
from broadcaster.core.sse import Frame
from broadcaster.core.subscription import Subscription


def subscriber(
    *streams: str, keys: str = "", pushed: bool = True, framing: Framing = unframed
) -> Subscriber:
    return Subscriber(
        Subscription(streams, KeysAndTypes.of(keys)),
        write=lambda _: None,
        wake=lambda: None,
        pushed=pushed,
        framing=framing,
    )


def bracketed(data: bytes) -> bytes:
    return b"[" + data + b"]"


def frame(ms: int, key: str) -> Frame:
    return sse.encode(Event(EventId(ms, 0), "t", key, b"%d" % ms))


def test_equal_subscriptions_are_one_audience_for_both_kinds_of_sink() -> None:
    audiences = Audiences(("a", "b"))
    pushed, pulled = subscriber("a"), subscriber("a", pushed=False)
    audiences.join(pushed)
    audiences.join(pulled)
    (audience,) = audiences.concerned("a", [])
    assert (audience.pushing, audience.pulling) == ({pushed}, {pulled})
    assert (len(audiences), audiences.subscribers) == (1, 2)
    assert not audiences.concerned("b", [])


def test_each_framing_has_audiences_of_its_own() -> None:
    audiences = Audiences(("a",))
    plain, chunked = subscriber("a"), subscriber("a", framing=bracketed)
    for each in (plain, chunked):
        audiences.join(each)
    found = {audience.framing: audience.pushing for audience in audiences.concerned("a", [])}
    assert found == {unframed: {plain}, bracketed: {chunked}}
    audiences.leave(plain)
    assert (len(audiences), audiences.subscribers) == (1, 1)


def test_by_key_it_is_found_for_its_own_frames_only_and_for_each_once() -> None:
    audiences = Audiences(("a", "b"))
    whole, x, xy = subscriber("a"), subscriber("a", keys="x"), subscriber("a", "b", keys="xy")
    for each in (whole, x, xy):
        audiences.join(each)
    frames = [frame(1, "x"), frame(2, "y"), frame(3, "z")]

    def found(stream: str) -> dict[frozenset[Subscriber], list[Frame]]:
        concerned: dict[Audience, list[Frame]] = audiences.concerned(stream, frames)
        return {frozenset(audience.pushing): theirs for audience, theirs in concerned.items()}

    assert found("a") == {
        frozenset({whole}): frames,
        frozenset({x}): frames[:1],
        frozenset({xy}): frames[:2],
    }
    assert found("b") == {frozenset({xy}): frames[:2]}


def test_the_last_one_to_leave_takes_the_audience_along() -> None:
    audiences = Audiences(("a", "b"))
    members = [subscriber("a", "b", keys="xy", pushed=pushed) for pushed in (True, False)]
    members.append(subscriber("a"))
    for member in members:
        audiences.join(member)
    frames = [frame(1, "x"), frame(2, "y")]
    audiences.leave(members[0])
    assert len(audiences.concerned("a", frames)) == 2
    for member in members[1:]:
        audiences.leave(member)
    assert (len(audiences), audiences.subscribers) == (0, 0)
    assert not audiences.concerned("a", frames)
    assert not any(audiences._by_key.values())  # keys come and go for ever
