"""Objects of JSON: what is read as one, and that numbers keep their digits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.core.json import jsonobject
from broadcaster.core.json.jsonobject import in_one_form, object_of, objects_of, written

PLAIN = ['{"a":1}', '{"a":{"b":[]}}', "{}"]
RARE = ['{"a":1.10}', '{"n":[12345678901234567890,1e5]}', "[1]", "1", "{", "", '{"a":"b:1.5"}']


@pytest.mark.parametrize("text", ['{"a":1.10}', '{"a":-0,"b":1E5}', '{"a":[12345678901234567890]}'])
def test_numbers_keep_the_digits_that_were_sent(text: str) -> None:
    found = object_of(text.encode())
    assert found is not None
    assert written(found) == text.encode()


@pytest.mark.parametrize("text", ["[1]", "1", "{", "", '{"a":NaN}', '{"a":"\\ud800"}'])
def test_what_is_no_object_is_none(text: str) -> None:
    assert object_of(text.encode()) is None


@pytest.mark.parametrize("nested", ["[", '{"a":'])
def test_what_is_nested_too_deeply_is_none(nested: str) -> None:
    closing = "]" if nested == "[" else "}"
    deep = '{"a":' + nested * 210 + "1" + closing * 210 + "}"
    wide = '{"a":[' + ",".join(["[]"] * 300) + "]}"
    assert object_of(deep.encode()) is None
    assert object_of(wide.encode()) == {"a": [[]] * 300}
    assert list(objects_of([wide.encode(), deep.encode()])) == [{"a": [[]] * 300}, None]


def test_equal_objects_have_one_form() -> None:
    one, other = object_of(b'{"a":1.0,"b":2}'), object_of(b'{"b": 2, "a": 1.0}')
    assert one is not None
    assert other is not None
    assert in_one_form(one) == in_one_form(other)
    assert written(one) != written(other)


@given(st.lists(st.sampled_from([*PLAIN, *RARE]), max_size=5))
def test_several_are_read_as_each_of_them_is(texts: list[str]) -> None:
    every = [text.encode() for text in texts]

    def shown(found: object) -> object:
        return written(found) if isinstance(found, dict) else found

    assert [shown(one) for one in objects_of(every)] == [shown(object_of(one)) for one in every]


def test_numbers_that_python_writes_alike_are_its_own() -> None:
    """So that equal ones are equal, beside one that is kept as it was sent."""
    found = object_of(b'{"least":1,"most":12345678901234567,"sent":1.10}')
    assert found is not None
    assert (found["least"], found["most"]) == (1, 12345678901234567)


def test_what_is_plain_in_all_of_several_is_read_in_the_short_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        jsonobject, "object_of", lambda _: pytest.fail("it takes half as long again")
    )
    assert list(objects_of([text.encode() for text in PLAIN])) == [{"a": 1}, {"a": {"b": []}}, {}]
