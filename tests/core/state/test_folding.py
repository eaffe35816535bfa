"""How the data of a key's events are folded: patches of RFC 7396, and joined texts."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.core.entry import frame_of
from broadcaster.core.event import EventId
from broadcaster.core.sse import Frame
from broadcaster.core.state.folding import fold
from broadcaster.core.state.values import Rules, Value

LAST, MERGE, APPEND = Rules("last"), Rules("merge"), Rules("append", append="text")


def frames(*data: Any, type: str = "t") -> list[Frame]:
    return [frame_of(EventId(ms, 0), type=type, key="k", data=d) for ms, d in enumerate(data, 1)]


def data(values: tuple[Value, ...]) -> list[bytes]:
    return [value.data for value in values]


def test_last_keeps_the_newest_event_of_each_type_in_the_order_of_ids() -> None:
    sent = [
        frame_of(EventId(ms, 0), type=t, key="k", data=t + str(ms))
        for ms, t in enumerate("abac", 1)
    ]
    assert fold(LAST, sent) == (
        Value(EventId(2, 0), "b", "k", b"b2"),
        Value(EventId(3, 0), "a", "k", b"a3"),
        Value(EventId(4, 0), "c", "k", b"c4"),
    )


# The test cases of https://www.rfc-editor.org/rfc/rfc7396#appendix-A, where the original is an
# object or absent; a patch that is no object replaces what is there.
@pytest.mark.parametrize(
    ("original", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_is_the_merge_patch_of_the_rfc(original: Any, patch: Any, result: Any) -> None:
    (value,) = fold(MERGE, frames(*(json.dumps(each) for each in (original, patch))))
    assert json.loads(value.data) == result
    assert value.id == EventId(2, 0)


def test_numbers_keep_the_digits_that_were_sent() -> None:
    sent = frames('{"a": 12345678901234567890123, "b": 1.10}', '{"c": 1e300, "d": -0.0}')
    written = b'{"a":12345678901234567890123,"b":1.10,"c":1e300,"d":-0.0}'
    assert data(fold(MERGE, sent)) == [written]
    sent = frames('{"n": 1.10, "text": "a"}', '{"text": "b", "n": 1.10}', '{"n": 1.1, "text": "c"}')
    assert data(fold(APPEND, sent)) == [b'{"n":1.10,"text":"ab"}', b'{"n": 1.1, "text": "c"}']


def test_a_number_is_not_the_text_of_the_same_digits() -> None:
    sent = frames({"n": 1, "text": "a"}, {"n": "1", "text": "b"}, {"n": True, "text": "c"})
    assert len(fold(APPEND, sent)) == 3


@pytest.mark.parametrize("nested", ["[", '{"a":'])
def test_what_is_nested_too_deeply_replaces_the_object(nested: str) -> None:
    closing = "]" if nested == "[" else "}"
    wide = '{"a": [' + ",".join(["[]"] * 300) + "]}"
    deep = '{"a":' + nested * 210 + "1" + closing * 210 + "}"
    values = fold(MERGE, frames('{"b": 1}', deep))
    assert data(values) == [deep.encode()]
    assert data(fold(MERGE, frames('{"b":1}', wide)))[0].startswith(b'{"b":1,"a":[')


def test_data_that_is_not_json_replaces_the_object() -> None:
    assert data(fold(MERGE, frames('{"b":1}', "{", '{"c":2}'))) == [b'{"c":2}']
    assert data(fold(MERGE, frames('{"b":1}', '{"a":NaN}'))) == [b'{"a":NaN}']


_texts = st.dictionaries(st.sampled_from(["text", "tool"]), st.sampled_from(["", "x", "yz"]))


@given(st.lists(st.tuples(st.sampled_from("ab"), _texts), max_size=12), st.data())
def test_folding_in_steps_gives_what_folding_at_once_gives(
    sent: list[tuple[str, dict[str, str]]], draw: st.DataObject
) -> None:
    events = [
        frame_of(EventId(ms, 0), type=type_, key="k", data=each)
        for ms, (type_, each) in enumerate(sent, 1)
    ]
    at = draw.draw(st.integers(0, len(events)))
    for rules in (LAST, MERGE, APPEND):
        assert fold(rules, [*fold(rules, events[:at]), *events[at:]]) == fold(rules, events)
