"""Responses that are no event streams, and event streams with a retry time only."""

from __future__ import annotations

import orjson
import pytest

from broadcaster.core.wire import Shed
from broadcaster.web.problem import come_back, event_stream, problem


def test_a_problem_has_the_form_of_rfc_9457() -> None:
    answer = problem(405, "only GET", {"allow": "GET"})
    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["allow"] == "GET"
    assert orjson.loads(bytes(answer.body)) == {
        "type": "about:blank",
        "title": "Method Not Allowed",
        "status": 405,
        "detail": "only GET",
    }


@pytest.mark.parametrize("reason", Shed)
def test_trouble_that_passes_is_an_event_stream_that_says_when_to_come_back(reason: Shed) -> None:
    answer = come_back(1234, reason)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    comment, retry, *rest = bytes(answer.body).decode().split("\n")
    assert comment == f": {reason.text}"
    assert (retry, rest) == ("retry: 1234", ["event: stream.at", "data: {}", "", ""])
    assert answer.headers["connection"] == "close"
    assert "connection" not in come_back(1234, reason, close=False).headers  # HTTP/2


def test_an_event_stream_that_ends_has_a_length_and_may_not_be_kept() -> None:
    answer = event_stream(b": hello\n\n")
    assert answer.headers["content-length"] == "9"
    assert "no-store" in answer.headers["cache-control"]
    assert answer.headers["x-accel-buffering"] == "no"
