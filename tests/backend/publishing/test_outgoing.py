"""From events to commands, and from replies to ids."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import ResponseError

from broadcaster import (
    BackendUnavailableError,
    Channel,
    EventId,
    InvalidEventError,
    PartialPublishError,
    UnknownChannelError,
)
from broadcaster.backend.driver.errors import NotSentError
from broadcaster.backend.publishing.outgoing import Commands, Maxlen, event_id, note, unsent

PETS = Channel(name="pets", path="/pets", maxlen=500)
EVENT = ("pets", "born", "a", {"n": 1})
PACKED = msgpack.packb(["born", "a", {"n": 1}])


@pytest.mark.parametrize(
    ("maxlen", "trim"),
    [("channel", ("MAXLEN", "~", 500)), (7, ("MAXLEN", "~", 7)), (None, ())],
)
def test_an_event_is_one_xadd(maxlen: Maxlen, trim: tuple[Any, ...]) -> None:
    command = Commands([PETS], maxlen).xadd(EVENT)
    assert command[:-1] == ("XADD", "pets", *trim, "*", b"m")
    type_, key, data = msgpack.unpackb(command[-1])
    assert (type_, key, data) in (("born", "a", {"n": 1}), ("born", "a", '{"n":1}'))


def test_a_batch_is_checked_whole_before_any_of_it_is_sent() -> None:
    commands = Commands([PETS], "channel")
    wrong = ("pets", "two\nlines", "", None)
    ids: list[EventId | None] = []
    with pytest.raises(InvalidEventError):
        next(commands.batches([EVENT, wrong], 10, ids))
    with pytest.raises(UnknownChannelError, match="cats"):
        next(commands.batches([EVENT, ("cats", "t", "", None)], 10, ids))


def test_an_invalid_event_after_a_batch_reports_the_stored_events() -> None:
    ids: list[EventId | None] = []
    batches = Commands([PETS], "channel").batches([EVENT, ("pets", "a\n", "", None)], 1, ids)
    assert len(next(batches)) == 1
    ids.append(EventId(5, 0))
    with pytest.raises(PartialPublishError) as caught:
        next(batches)
    assert caught.value.ids == [EventId(5, 0)]


def test_no_events_are_no_batch() -> None:
    assert list(Commands([PETS], "channel").batches([], 10, [])) == []


def test_a_refusal_in_a_batch_is_reported_with_the_ids_of_the_others() -> None:
    ids: list[EventId | None] = []
    commands: list[Any] = [("XADD",)] * 4
    with pytest.raises(PartialPublishError) as caught:
        note(ids, commands, [b"5-0", ResponseError("OOM no room"), b"5-1"])
    # The fourth was sent and never answered.
    assert caught.value.ids == [EventId(5, 0), None, EventId(5, 1), None]
    assert isinstance(caught.value.__cause__, ResponseError)


def test_a_batch_that_was_answered_adds_its_ids() -> None:
    ids: list[EventId | None] = [EventId(1, 0)]
    note(ids, [("XADD",)], [b"5-0"])
    assert ids == [EventId(1, 0), EventId(5, 0)]


def test_a_batch_that_was_not_sent_is_no_partial_publishing() -> None:
    error = NotSentError()
    error.__cause__ = NoConnection("gone")
    assert isinstance(unsent([], error), BackendUnavailableError)
    assert isinstance(unsent([EventId(1, 0)], error), PartialPublishError)


@pytest.mark.parametrize("reply", [b"5-1", "5-1"])
def test_a_reply_may_be_bytes_or_text(reply: bytes | str) -> None:
    assert event_id(reply) == EventId(5, 1)
