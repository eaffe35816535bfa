"""The clients of runs understand the hub's formats, and notice what breaks their rules."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from broadcaster.answers.formats import format_of
from broadcaster.web.runs.bare import BareEvents
from broadcaster.web.runs.formatted import Formatter
from tests.chaos.hearing import KINDS, AiSdk, Bare, Hearer, Native, OpenAi, Told, told
from tests.chaos.sse import Splitter

FORMATS: dict[str, Callable[[], Formatter]] = {
    "bare": BareEvents,
    "ai-sdk": lambda: format_of("ai-sdk"),
    "openai": lambda: format_of("openai"),
}


def hear(hearer: Hearer, body: bytes) -> None:
    """Take a response."""
    hearer.begin()
    for raw in Splitter().feed(body):
        hearer.take(told(raw))


def response(kind: str, *events: tuple[str, str]) -> list[bytes]:
    """The parts of a response in a format of the hub."""
    made = FORMATS[kind]()
    return [made.begin("7-7", 0), *(made.event(*event) for event in events)]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("end", "data"), [("complete", "{}"), ("failed", '{"reason":"worker"}'), ("stopped", "{}")]
)
def test_an_answer_and_its_end(kind: str, end: str, data: str) -> None:
    hearer = KINDS[kind]()
    hear(hearer, b"".join(response(kind, ("text", "1.0 "), ("text", "1.1 "), (end, data))))
    assert (hearer.text, hearer.end, hearer.wrong) == ("1.0 1.1 ", end, [])


@pytest.mark.parametrize("kind", ["bare", "ai-sdk"])
def test_the_next_response_has_all_of_it_again(kind: str) -> None:
    hearer = KINDS[kind]()
    cut, all_ = response(kind, ("text", "1.0 ")), (("text", "2.0 "), ("complete", "{}"))
    hear(hearer, b"".join(cut))
    assert (hearer.text, hearer.end) == ("1.0 ", "")
    hear(hearer, b"".join(response(kind, *all_)))
    assert (hearer.text, hearer.end, hearer.wrong) == ("2.0 ", "complete", [])


def test_openai_goes_on_after_a_number_and_notices_a_hole() -> None:
    hearer = OpenAi()
    events = (("text", "1.0 "), ("text", "1.1 "), ("complete", "{}"))
    hear(hearer, b"".join(response("openai", *events)[:2]))
    tail = format_of("openai", after=hearer.last)
    hear(hearer, b"".join([tail.begin("7-7", 0), *(tail.event(*event) for event in events)]))
    assert (hearer.text, hearer.end, hearer.wrong) == ("1.0 1.1 ", "complete", [])
    other = OpenAi()
    first, _, last, end = response("openai", *events)
    hear(other, first + last + end)
    assert other.wrong


def test_openai_notices_that_a_text_was_another_one() -> None:
    hearer = OpenAi()
    parts = response("openai", ("text", "1.0 "), ("complete", "{}"))
    hear(hearer, parts[0] + parts[1].replace(b'"delta":"1.0 "', b'"delta":"9.9 "') + parts[2])
    assert hearer.wrong == ["the text of response.output_text.done is another one"]


def test_native_goes_on_after_its_id_and_forgets_at_a_restart() -> None:
    hearer = Native()
    hear(hearer, b"id: 5-1\nevent: text\ndata: 1.0 \n\n")
    assert (hearer.text, hearer.last_id) == ("1.0 ", "5-1")
    hear(
        hearer, b"id: 5-2\nevent: stream.restart\ndata: {}\n\nid: 5-3\nevent: text\ndata: 2.0 \n\n"
    )
    hear(hearer, b"id: 5-4\nevent: complete\ndata: {}\n\n")
    assert (hearer.text, hearer.end, hearer.wrong) == ("2.0 ", "complete", [])


@pytest.mark.parametrize(
    "block",
    [
        Told(None, "stream.reset", "{}"),
        Told("5-5", "text", "late"),
        Told("5-5", "failed", "{}"),
    ],
)
def test_native_notices_what_must_not_come(block: Told) -> None:
    hearer = Native()
    hear(hearer, b"id: 5-4\nevent: complete\ndata: {}\n\n")
    hearer.take(block)
    assert len(hearer.wrong) == 1


@pytest.mark.parametrize("block", [Told("5-5", "text", "1"), Told(None, "stream.live", "{}")])
def test_bare_notices_ids_and_events_of_the_hub(block: Told) -> None:
    hearer = Bare()
    hearer.take(block)
    assert len(hearer.wrong) == 1


@pytest.mark.parametrize("body", [
    b'data: {"type":"text-delta","delta":"x"}\n\n',
    b'data: {"type":"start"}\n\ndata: {"type":"text-delta","delta":"x"}\n\n',
    b'data: {"type":"start"}\n\ndata: {"type":"start"}\n\n',
])  # fmt: skip
def test_ai_sdk_notices_parts_in_a_wrong_order(body: bytes) -> None:
    hearer = AiSdk()
    hear(hearer, body)
    assert hearer.wrong


def test_ai_sdk_takes_no_other_finish_for_success() -> None:
    hearer = AiSdk()
    hear(hearer, b'data: {"type":"start"}\n\ndata: {"type":"finish","finishReason":"other"}\n\n')
    assert hearer.end == ""
