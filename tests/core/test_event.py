import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.core.event import ZERO, EventId
from broadcaster.errors import InvalidCursorError
from tests.saying import saying

MOST = (1 << 64) - 1
ids = st.builds(EventId, st.integers(0, MOST), st.integers(0, MOST))


@given(ids)
def test_text_and_back(event_id: EventId) -> None:
    assert EventId.parse(str(event_id)) == event_id
    assert EventId.of_entry(str(event_id).encode()) == event_id


def test_ids_compare_as_numbers_not_as_text() -> None:
    assert EventId.parse("9-10") > EventId.parse("9-9")
    assert EventId.parse("10-0") > EventId.parse("9-9")


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("0", ZERO),
        ("5", EventId(5, 0)),
        ("1710000000000", EventId(1_710_000_000_000, 0)),
        ("007-01", EventId(7, 1)),
        ("0" * 90 + "7-0", EventId(7, 0)),
        (str(MOST), EventId(MOST, 0)),
    ],
)
def test_other_spellings_that_redis_reads(text: str, means: EventId) -> None:
    assert EventId.parse(text) == means


@given(ids)
def test_nothing_fits_between_an_id_and_its_neighbours(event_id: EventId) -> None:
    if event_id != ZERO:
        assert event_id.before() < event_id
        assert event_id.before().after() == event_id
    if event_id != (MOST, MOST):
        assert event_id.after() > event_id
        assert event_id.after().before() == event_id


def test_the_ends_have_no_neighbour_beyond() -> None:
    assert ZERO.before() == ZERO
    assert EventId(1, MOST - 1).after() == EventId(1, MOST)
    assert EventId(MOST - 1, MOST).after() == EventId(MOST, 0)
    assert EventId(MOST, MOST).after() == EventId(MOST, MOST)


@pytest.mark.parametrize(
    "text",
    [
        "", "-", "1-", "-1", "a-b", "1-2-3", " 1-2", "1-2\n", "+1-2", "$", "+", "*", ">",
        "18446744073709551616-0", "0-18446744073709551616", "1" * 70_000 + "-0", "1_0-0",
        "\u0661-\u0662", "+5", "1 ", "0x1", "1e3", "18446744073709551616", "0" * 121 + "1",
    ],
)  # fmt: skip
def test_an_invalid_id_is_refused_with_a_short_text(text: str) -> None:
    with pytest.raises(InvalidCursorError) as caught:
        EventId.parse(text)
    assert len(str(caught.value)) < 200


def test_a_refusal_shows_the_beginning_of_what_is_no_id() -> None:
    with saying(InvalidCursorError, f"'{'x' * 64}' is not an event id like 1710000000000-0"):
        EventId.parse("x" * 65)
