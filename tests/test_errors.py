"""All public errors are one tree, and their messages say what to do."""

from __future__ import annotations

import inspect

import pytest

import broadcaster
from broadcaster import errors
from broadcaster.core.event import EventId
from broadcaster.errors import (
    BroadcasterError,
    PartialPublishError,
    StreamRefusedError,
    UnknownChannelError,
)

ALL = [
    found
    for _, found in inspect.getmembers(errors, inspect.isclass)
    if found.__module__ == errors.__name__
]


@pytest.mark.parametrize("error", ALL)
def test_each_is_a_broadcaster_error_that_users_can_import(error: type[Exception]) -> None:
    assert issubclass(error, BroadcasterError)
    assert getattr(broadcaster, error.__name__, None) is error or error.__name__ in (
        "InvalidRequestError",  # becomes a response, so no caller sees it
        "UnknownChannelError",
    )


def test_an_unknown_channel_names_those_that_there_are() -> None:
    error = UnknownChannelError("cats", ["pets", "dogs"])
    assert (error.channel, error.known) == ("cats", ["dogs", "pets"])
    assert "'cats'" in str(error)
    assert "dogs, pets" in str(error)
    assert "did you mean" not in str(error)
    assert "did you mean 'pets'?" in str(UnknownChannelError("pet", ["pets", "dogs"]))


def test_a_partial_publishing_counts_its_events() -> None:
    error = PartialPublishError([EventId(1, 0), None, EventId(1, 1)], OSError("cut"))
    assert str(error) == "2 events were published and 1 not for certain when this happened: cut"


def test_a_refused_stream_has_its_status() -> None:
    error = StreamRefusedError(404, "there is no such channel")
    assert (error.status, error.detail) == (404, "there is no such channel")
    assert str(error) == "there is no such channel (HTTP status 404)"
