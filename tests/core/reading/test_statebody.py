"""A state as JSON."""

from __future__ import annotations

from broadcaster.core.event import Event, EventId, Live, StateFollows
from broadcaster.core.reading.statebody import StateBody, tag_of


def event(data: bytes) -> Event:
    return Event(EventId(1, 0), "t", "k", data, "a")


def test_a_state_has_no_ids() -> None:
    body = StateBody()
    assert not body.begun
    body.add(StateFollows("a", None, 2, since="5-0"))
    body.add(event(b"1.10"))
    body.add(event(b"text"))
    body.add(Live(2))
    assert (body.begun, body.too_large, body.since("a")) == (True, False, "5-0")
    assert body.render(b"9-0", "5-0", complete=False) == (
        b'{"position":"9-0","since":"5-0","complete":false,"events":['
        b'{"type":"t","key":"k","data":1.10},{"type":"t","key":"k","text":"text"}]}'
    )


def test_shards_are_named_where_events_may_be_missing() -> None:
    body = StateBody()
    for shard, since in enumerate(["5-0", "", "6-0"]):
        body.add(StateFollows("a", shard, 1, since=since))
    assert body.since("a") == "a.0=5-0,a.2=6-0"
    body.add(StateFollows("a", 3, 0, too_large=True))
    assert body.too_large


def test_a_state_that_begins_again_is_whole() -> None:
    body = StateBody()
    body.add(StateFollows("a", 0, 1, too_large=True))
    body.add(event(b"1"))
    body.add(StateFollows("a", 0, 1))
    body.add(event(b"2"))
    assert (body.too_large, body.since("a")) == (False, "")
    assert body.render(b"9-0", "", complete=True) == (
        b'{"position":"9-0","since":null,"complete":true,"events":'
        b'[{"type":"t","key":"k","data":2}]}'
    )


def test_a_tag_changes_with_each_part() -> None:
    tags = {tag_of(b"1-0", "", "r"), tag_of(b"2-0", "", "r"), tag_of(b"1-0", "1-0", "r")}
    assert len({*tags, tag_of(b"1-0", "", "s")}) == 4
    assert tag_of(b"1-0", "", "r") in tags
    assert all(len(tag) == len('""') + 24 for tag in tags)
