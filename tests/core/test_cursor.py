import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.core.cursor import parse, parse_duration, parse_start, render
from broadcaster.core.event import EventId
from broadcaster.errors import InvalidCursorError
from tests.saying import saying

A, B = EventId(5, 1), EventId(6, 0)
NOW = 1_800_000_000_000
names = st.text("abcxyz_.-019", min_size=1, max_size=12).filter(lambda name: name != "run")
ids = st.builds(EventId, st.integers(0, 1 << 63), st.integers(0, 1 << 63))


def test_positions_are_named_and_sorted() -> None:
    assert render({"orders": A, "inventory": B}) == b"inventory=6-0,orders=5-1"
    assert render({"recommendations": A}, run=B) == b"recommendations=5-1,run=6-0"


def test_none_of_several_positions_is_left_out() -> None:
    before = EventId(6, 2).before()
    assert render({"orders": before, "inventory": B}) == b"inventory=6-0,orders=6-1"


@given(st.dictionaries(names, ids, min_size=1, max_size=5), st.none() | ids)
def test_a_rendered_cursor_is_restored(positions: dict[str, EventId], run: EventId | None) -> None:
    text = render(positions, run).decode()
    assert parse(text) == (positions, run, frozenset())
    # https://fetch.spec.whatwg.org/#cors-unsafe-request-header-byte
    assert not set(text) & set('"():<>?@[\\]{}\x7f')


def test_a_missing_second_number_is_0_as_redis_reads_it() -> None:
    assert parse("a=5,b=0,run=7")[:2] == ({"a": EventId(5, 0), "b": EventId(0, 0)}, EventId(7, 0))


def test_a_state_stands_in_the_place_of_a_position() -> None:
    text = render({"a": A, "b": B}, run=B, states={"a"})
    assert text == b"a=state,b=6-0,run=6-0"
    assert parse(text.decode()) == ({"b": B}, B, frozenset({"a"}))
    assert render({}, states={"a", "b"}) == b"a=state,b=state"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5-1",
        "a=5-1,a=5-1",
        "a=state,a=5-1",
        "run=state,a=5-1",
        "a=5-1,",
        "a=5-",
        "a=-5",
        "a=18446744073709551616-0",
        ",".join(f"s{number}=5-1" for number in range(4000)),
        "5-1" + " " * 65536,
    ],
)
def test_an_unreadable_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidCursorError):
        parse(text)


def test_a_refusal_of_a_cursor_says_what_is_wrong_with_which_part() -> None:
    longest = f"{'n' * 16_380}=5-1"
    assert len(longest) == 16_384
    assert [*parse(longest).positions.values()] == [A]
    with saying(InvalidCursorError, "a cursor has at most 16384 characters"):
        parse("n" + longest)
    with saying(InvalidCursorError, f"'{'x' * 64}' is not like name=1710000000000-0"):
        parse("x" * 65)
    with saying(InvalidCursorError, f"'{'n' * 64}' occurs twice"):
        parse(f"{'n' * 65}=5-1,{'n' * 65}=5-1")
    with saying(InvalidCursorError, "'5=1' is not an event id like 1710000000000-0"):
        parse("a=5=1")


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (lambda: parse(text), lambda: parse_start(text, NOW)):
        with contextlib.suppress(InvalidCursorError):
            read()


def test_starts() -> None:
    assert parse_start("earliest", NOW) == "earliest"
    assert parse_start("latest", NOW) == "latest"
    assert parse_start("10m", NOW) == NOW - 600_000
    assert parse_start("250ms", NOW) == NOW - 250
    assert parse_start("999999999d", NOW) == 0
    assert parse_start("2026-01-31T12:00:00Z", NOW) == 1769860800000
    assert parse_start("2026-01-31T12:00:00.250+02:00", NOW) == 1769853600250
    assert parse_start("2026-01-31t12:00:00 02:00", NOW) == 1769853600000


def test_a_time_that_a_client_with_a_fast_clock_gives_is_now() -> None:
    for seconds, start in ((0, NOW), (59, NOW), (86_399, NOW)):
        at = datetime.fromtimestamp(NOW / 1000 + seconds, UTC).isoformat()
        assert parse_start(at, NOW) == start
    tomorrow = datetime.fromtimestamp(NOW / 1000 + 86_400, UTC).isoformat()
    assert parse_start(tomorrow, NOW) == NOW
    with saying(InvalidCursorError, f"{tomorrow!r} is not between 1970 and tomorrow"):
        parse_start(tomorrow, NOW - 1)
    assert parse_start("1970-01-01T00:00:00Z", NOW) == 0


@pytest.mark.parametrize(
    "text",
    ["", "now", "$", "+", "10", "10 m", "-1s", "2026-01-31", "2026-01-31T12:00:00",
     "2026-13-31T12:00:00Z", "1969-12-31T23:59:59Z", "2099-01-01T00:00:00Z", "x" * 70_000],
)  # fmt: skip
def test_an_unreadable_start_is_refused_with_the_accepted_forms(text: str) -> None:
    with pytest.raises(InvalidCursorError) as caught:
        parse_start(text, NOW)
    assert len(str(caught.value)) < 400


def test_a_refusal_of_a_start_or_a_duration_says_what_would_be_right() -> None:
    words = "an event id like 1710000000000-0, earliest, latest, state"
    times = "an RFC 3339 time like 2026-01-31T12:00:00Z, a duration back like 10m"
    with saying(InvalidCursorError, f"'{'x' * 64}' is none of: {words}, {times}"):
        parse_start("x" * 65, NOW)
    with saying(InvalidCursorError, f"'{'x' * 64}' is not a duration like 10m"):
        parse_duration("x" * 65)
    with pytest.raises(InvalidCursorError, match=r"\A'2026-13-31T12:00:00Z' is no date: .*month"):
        parse_start("2026-13-31T12:00:00Z", NOW)
