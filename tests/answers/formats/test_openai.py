from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from pydantic import TypeAdapter

from broadcaster.answers.formats import format_of

BEGIN = ["response.created"]
TEXT = ["response.output_item.added", "response.content_part.added", "response.output_text.delta"]
DONE = ["response.output_text.done", "response.content_part.done", "response.output_item.done"]


@cache
def typed() -> TypeAdapter[Any]:
    """The client's own types."""
    # Not at the top: it takes a second, in each process that collects the tests.
    from openai.types.responses import ResponseStreamEvent

    return TypeAdapter(ResponseStreamEvent)


def sent(*events: tuple[str, str], **options: int) -> list[dict[str, Any]]:
    """The events, each of which must be one that the client's own types accept."""
    made = format_of("openai", **options)
    body = made.begin("7-1", 5_999) + b"".join(made.event(*event) for event in events)
    blocks = body.decode().split("\n\n")
    assert blocks.pop() == ""
    found = []
    for block in blocks:
        first, second = block.split("\n")
        event = json.loads(second.removeprefix("data: "))
        typed().validate_python(event)
        assert first == f"event: {event['type']}"
        found.append(event)
    numbers = [event["sequence_number"] for event in found]
    assert numbers == [number + numbers[0] for number in range(len(numbers))]
    return found


def types(found: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in found]


def test_a_text_begins_goes_on_and_ends() -> None:
    found = sent(("text", 'a"\n'), ("other", "x"), ("text", "b"), ("complete", "{}"))
    assert types(found) == [*BEGIN, *TEXT, TEXT[-1], *DONE, "response.completed"]
    assert [event["delta"] for event in found if "delta" in event] == ['a"\n', "b"]
    assert found[-4]["text"] == 'a"\nb'
    whole = found[-1]["response"]
    assert (whole["id"], whole["created_at"], whole["status"]) == ("7-1", 5, "completed")
    assert [part["text"] for part in whole["output"][0]["content"]] == ['a"\nb']


@pytest.mark.parametrize(
    ("event", "type_", "status", "error"),
    [
        (("complete", "{}"), "response.completed", "completed", None),
        (
            ("failed", '{"reason":"worker"}'),
            "response.failed",
            "failed",
            {"code": "server_error", "message": "worker"},
        ),
        (("stopped", "{}"), "response.incomplete", "cancelled", None),
    ],
)
def test_the_ends(event: tuple[str, str], type_: str, status: str, error: object) -> None:
    found = sent(event)
    assert types(found) == [*BEGIN, type_]
    end = found[-1]["response"]
    assert (end["status"], end["error"], end["output"]) == (status, error, [])
    half = sent(("text", "a"), event)[-1]["response"]["output"][0]
    assert half["status"] == ("completed" if status == "completed" else "incomplete")


def test_what_a_client_has_is_left_out_and_numbers_stay() -> None:
    events = ("text", "a"), ("text", "b"), ("complete", "{}")
    everything = sent(*events)
    for after in range(len(everything)):
        assert sent(*events, after=after) == everything[after + 1 :]


def test_numbers_go_on_above_those_from_before_a_restart() -> None:
    pieces = [("text", text) for text in "abc"]
    numbers = [event["sequence_number"] for event in sent(*pieces)]
    again = [event["sequence_number"] for event in sent(*pieces, restarts=1, told=len(pieces))]
    assert again == list(range(numbers[-1] + 1, numbers[-1] + 1 + len(again)))
