"""A page of the log as JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.core.event import Event, EventId, Live, Reset
from broadcaster.core.reading.logpage import LogPage


def event(data: bytes, type_: str = "t", key: str = "k") -> Event:
    return Event(EventId(1, 0), type_, key, data, "a")


def rendered(page: LogPage) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(page.render(b"9-0", more=False, complete=True))
    return found


def test_an_empty_page() -> None:
    page = LogPage(1)
    page.add(Live(0), b"1-0")
    assert (page.empty, page.full) == (True, False)
    assert page.render(b"9-0", more=True, complete=False) == (
        b'{"events":[],"next":"9-0","reset":null,"more":true,"complete":false}'
    )


def test_a_page_is_full_with_its_events_or_their_bytes() -> None:
    few, small = LogPage(2, 1_000), LogPage(1_000, 200)
    for page in (few, small):
        page.add(event(90 * b"x"), b"1-0")
        assert not page.full
        page.add(event(90 * b"x"), b"2-0")
        assert page.full


def test_json_is_spliced_and_any_other_text_is_a_string() -> None:
    page = LogPage(10)
    page.add(event(b'{"kg": 1.10}', 'a "t"', "\u043a"), b"1-0")
    page.add(event(b"plain"), b"2-0")
    assert page.render(b"2-0", more=False, complete=False).startswith(
        '{"events":[{"id":"1-0","type":"a \\"t\\"","key":"\u043a","data":{"kg": 1.10}},'
        '{"id":"2-0","type":"t","key":"k","text":"plain"}],'.encode()
    )


@given(st.text().map(str.encode) | st.binary().filter(lambda b: _is_text(b)))
def test_any_data_makes_a_page_that_can_be_read(data: bytes) -> None:
    page = LogPage(1)
    page.add(event(data), b"1-0")
    (found,) = rendered(page)["events"]
    if "text" in found:
        assert found["text"].encode() == data
    else:
        assert found["data"] == json.loads(data)


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_a_page_is_full_of_events_or_of_bytes() -> None:
    page = LogPage(2)
    page.add(event(b"1"), b"1-0")
    assert (page.count, page.full) == (1, False)
    page.add(event(b"2"), b"2-0")
    assert (page.count, page.full) == (2, True)
    page = LogPage(1000, 100)
    page.add(event(b"1" * 200), b"1-0")
    assert page.full


TRIMMED = Reset("a", None, "trimmed", "1-0", "5-0")


@pytest.mark.parametrize(
    ("resets", "expected"),
    [
        (
            [TRIMMED],
            {"channel": "a", "reason": "trimmed", "requested": "1-0", "resumed": "5-0"},
        ),
        (
            [TRIMMED, Reset("a", None, "rollback", "7-0", "6-0")],
            {"channel": "a", "reason": "trimmed", "requested": "1-0", "resumed": "6-0"},
        ),
        (
            [Reset("a", 1, "unknown", "1-0", "5-0")],
            {
                "channel": "a",
                "shard": 1,
                "reason": "unknown",
                "requested": "1-0",
                "resumed": "5-0",
            },
        ),
        (
            [Reset("a", 1, "trimmed", "1-0", "5-0"), Reset("a", 0, "rollback", "8-0", "6-0")],
            {
                "channel": "a",
                "reason": "trimmed",
                "requested": "a.0=8-0,a.1=1-0",
                "resumed": "a.0=6-0,a.1=5-0",
            },
        ),
        (
            [Reset("a", 0, "invalid", "?", "5-0"), Reset("a", 1, "invalid", "?", "6-0")],
            {
                "channel": "a",
                "reason": "invalid",
                "requested": "?",
                "resumed": "a.0=5-0,a.1=6-0",
            },
        ),
    ],
)
def test_resets_become_one(resets: list[Reset], expected: dict[str, Any]) -> None:
    page = LogPage(1)
    for reset in resets:
        page.add(reset, b"1-0")
    assert rendered(page)["reset"] == expected
    assert not page.empty
