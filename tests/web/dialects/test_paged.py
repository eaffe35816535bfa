"""What a request for a page asks for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from broadcaster.core.channel import Channel
from broadcaster.core.event import EventId
from broadcaster.errors import InvalidCursorError, InvalidRequestError
from broadcaster.web.dialects import paged
from broadcaster.web.dialects.native import ExceededError, Most
from broadcaster.web.dialects.paged import PageWanted

STOCK = Channel(name="stock", path="/stock", key_param="petId")


def read(query: str = "", **headers: str) -> PageWanted:
    scope: dict[str, Any] = {
        "query_string": query.encode(),
        "headers": [(n.replace("_", "-").encode(), v.encode()) for n, v in headers.items()],
    }
    return paged.read(scope, {"stock": STOCK}, STOCK, 1_000_000, (), Most(2, 2, 100))


def test_without_a_query_it_is_a_hundred_events_and_no_wait() -> None:
    asked = read()
    assert (asked.limit, asked.wait_s) == (100, 0)
    assert asked.wanted.channels == (STOCK,)
    assert (asked.wanted.positions, asked.wanted.start) == ({}, None)


def test_all_parameters() -> None:
    asked = read("after=5-1&limit=7&wait=25&key=a&key=b&type=t&from=earliest&utm=x")
    assert (asked.limit, asked.wait_s) == (7, 25)
    assert asked.wanted.positions == {"stock": EventId(5, 1)}
    assert asked.wanted.subscription.keys == {"a", "b"}


@pytest.mark.parametrize("query", ["after=5-1", "lastEventId=5-1", "after=5-1&lastEventId=4-1"])
def test_after_is_one_more_name_of_the_cursor(query: str) -> None:
    assert read(query).wanted.positions == {"stock": EventId(5, 1)}
    assert read(query, last_event_id="6-1").wanted.positions == {"stock": EventId(6, 1)}


@pytest.mark.parametrize("text", ["state", "stock=state"])
def test_a_page_has_no_state_so_an_id_amid_one_is_a_reset(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.STOCK", replace(STOCK, state="last"))
    assert read(f"after={text}").wanted.unreadable == text
    assert read(last_event_id=text).wanted.states == frozenset()
    assert read("from=stock=state").wanted.unreadable == "stock=state"
    assert read("from=state").wanted.start == "state"


def test_an_empty_cursor_is_none() -> None:
    assert read("after=&from=earliest").wanted.start == "earliest"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("limit=0", "limit is a whole number from 1 to 1000"),
        ("limit=1e2", "limit is a whole number"),
        ("limit=99999", "limit is a whole number"),
        ("wait=61", "wait is a whole number from 0 to 60"),
        ("petId=7", "here the key is given as key=…, not as petId=…"),
        ("afer=1-1", "did you mean 'after'"),
    ],
)
def test_what_is_wrong_is_refused(query: str, said: str) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        read(query)


@pytest.mark.parametrize("query", ["key=a&key=b&key=c", "x=" + "y" * 100])
def test_too_much_is_refused(query: str) -> None:
    with pytest.raises(ExceededError):
        read(query)


def test_a_beginning_that_can_not_be_read_is_refused() -> None:
    with pytest.raises(InvalidCursorError):
        read("from=banana")
