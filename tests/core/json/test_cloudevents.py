"""CloudEvents in structured mode: which of their attributes an event has."""

from __future__ import annotations

import json
from typing import Any

import pytest

from broadcaster.core.json.cloudevents import cloud_event
from broadcaster.core.json.incoming import Incoming, parse_each
from broadcaster.errors import InvalidEventError
from tests.saying import saying

REQUIRED = "a CloudEvent has specversion, id, source, type"
WHOLE = {"specversion": "1.0", "id": "a-1", "source": "/shop", "type": "shop.sold", "subject": "7"}


def read(text: str) -> Incoming:
    (found,) = parse_each(text.encode(), cloud_event)
    return found


def with_data(data: str, content: str = "") -> Incoming:
    more = {"datacontenttype": content} if content else {}
    return read(f'{json.dumps({**WHOLE, **more})[:-1]}, "data": {data}}}')


def test_type_subject_and_data_are_those_of_the_event() -> None:
    assert with_data('{"n": 1.10}') == Incoming("shop.sold", "7", '{"n": 1.10}', "5 /shop a-1")
    without: dict[str, Any] = {**WHOLE, "subject": None, "time": "2026-01-31T12:00:00Z"}
    assert read(json.dumps(without)) == Incoming("shop.sold", "", "null", "5 /shop a-1")


def test_other_sources_and_ids_are_other_events() -> None:
    pairs = [("a b", "c"), ("a", "b c"), ("a", "c")]
    assert len({read(json.dumps({**WHOLE, "source": s, "id": i})).id for s, i in pairs}) == 3


@pytest.mark.parametrize(
    ("content", "sent"),
    [
        ("", '"a"'),
        ("application/json", '"a"'),
        ("Application/vnd.shop+JSON; charset=utf-8", '"a"'),
        ("text/plain", "a"),
        ("text/x; a=/json", "a"),
        ("application/jsonl", "a"),
    ],
)
def test_a_string_is_a_text_unless_its_content_is_json(content: str, sent: str) -> None:
    assert with_data('"a"', content).data == sent
    assert with_data("[1.0]", content).data == "[1.0]"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"specversion": "0.3"}, "the specversion of a CloudEvent is 1.0"),
        ({"id": None}, f"{REQUIRED}: id is missing"),
        ({"source": ""}, f"{REQUIRED}: source is missing"),
        ({"type": None}, f"{REQUIRED}: type is missing"),
        ({"subject": 7}, "subject must be a text, not 7"),
        ({"data_base64": "AA=="}, "data is text: data_base64 can't be published"),
    ],
)
def test_what_is_no_cloud_event_of_text_is_refused(change: dict[str, Any], said: str) -> None:
    with saying(InvalidEventError, said):
        read(json.dumps({**WHOLE, **change}))
