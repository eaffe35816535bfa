"""Texts of neighbours are joined, however they were sent and folded before."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.core.entry import frame_of
from broadcaster.core.event import EventId
from broadcaster.core.json.jsonobject import object_of
from broadcaster.core.sse import Frame
from broadcaster.core.state import texts
from broadcaster.core.state.texts import Growing, appended, value_of
from broadcaster.core.state.values import Value


def frame(ms: int, data: Any, type: str = "t") -> Frame:
    return frame_of(EventId(ms, 0), type=type, key="k", data=data)


def frames(*data: Any) -> list[Frame]:
    return [frame(ms, each) for ms, each in enumerate(data, 1)]


def joined(*data: Any) -> list[bytes]:
    return [value_of("text", value).data for value in appended("text", frames(*data))]


def test_append_joins_neighbours_that_differ_in_the_text_alone() -> None:
    sent = frames(
        {"text": "Hel"}, {"text": "lo"}, {"tool": "search"}, {"tool": "search"},
        {"text": "a", "by": 1}, {"text": "b", "by": 1}, {"text": "c", "by": 2}, {"text": 5},
        "plain",
    )  # fmt: skip
    values = [value_of("text", value) for value in appended("text", sent)]
    assert [(value.id.ms, value.data, value.lengths) for value in values] == [
        (2, b'{"text":"Hello"}', (3, 2)),
        (3, b'{"tool":"search"}', ()),
        (4, b'{"tool":"search"}', ()),
        (6, b'{"text":"ab","by":1}', (1, 1)),
        (7, b'{"text":"c","by":2}', ()),
        (8, b'{"text":5}', ()),
        (9, b"plain", ()),
    ]


def test_append_joins_events_of_one_type_only() -> None:
    sent = [frame(1, {"text": "a"}, "a"), frame(2, {"text": "b"}, "b"), frame(3, {"text": "c"})]
    sent += [frame(4, {"text": "d"}), frame(5, {"text": "e"}, "a")]
    values = [value_of("text", value) for value in appended("text", sent)]
    texts = [b'{"text":"a"}', b'{"text":"b"}', b'{"text":"cd"}', b'{"text":"e"}']
    assert [value.data for value in values] == texts


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        # The bytes around the first texts are known by the third event.
        (['{"text": "a"}', '{"text": "b"}', '{"text": "c"}'], ['{"text":"abc"}']),
        (['{"text":"a"}', '{"text":"b"}', '{"text":5}'], ['{"text":"ab"}', '{"text":5}']),
        (['{"text":"a"}', '{"text":"b"}', '{"text":}'], ['{"text":"ab"}', '{"text":}']),
        (['{"text":"a"}', '{"text":"b"}', '{"text":"c","n":1}'],
         ['{"text":"ab"}', '{"text":"c","n":1}']),
        (['{"text":"a","n":1}', '{"text":"b","n":1}', '{"text":"c","n":2}'],
         ['{"text":"ab","n":1}', '{"text":"c","n":2}']),
        (['{"text":"a"}', '{"text":"b"}', '{"text":"c"}}'], ['{"text":"ab"}', '{"text":"c"}}']),
        (['{"text":"a"}', '{"text":"b"}', '{"text":"\\ud800"}'],
         ['{"text":"ab"}', '{"text":"\\ud800"}']),
        (['{"text":"a"}', '{"text":"b"}', '{"text":"\\u00e9"}'], ['{"text":"abé"}']),
        (['{"n":1,"text":"a"}', '{"text":"b","n":1}', '{"n":1,"text":"c"}', '{"text":"d","n":1}'],
         ['{"n":1,"text":"abcd"}']),
        # The text occurs elsewhere, too, or is written in another way.
        (['{"n":"a","text":"a"}', '{"n":"a","text":"a"}', '{"n":"a","text":"b"}'],
         ['{"n":"a","text":"aab"}']),
        (['{"text":"text","n":"text"}'] * 3, ['{"text":"texttexttext","n":"text"}']),
        (['{"n":"?","text":"?"}'] * 3, ['{"n":"?","text":"???"}']),
        (['{"text":"\\u00e9"}'] * 3, ['{"text":"ééé"}']),
        (['{"text":"x","text":"a"}'] * 3, ['{"text":"aaa"}']),
        (['{"o":{"text":"a"},"text":"a"}'] * 3, ['{"o":{"text":"a"},"text":"aaa"}']),
        (['{\n"text":\n"a"\n}'] * 3, ['{"text":"aaa"}']),
        (['{"text":"a"}', '{"text":"b"}', '{"text":"c\nd"}'], ['{"text":"ab"}', '{"text":"c\nd"}']),
    ],
)  # fmt: skip
def test_only_what_differs_in_the_text_alone_is_joined(
    sent: list[str], expected: list[str]
) -> None:
    assert joined(*sent) == [each.encode() for each in expected]


@pytest.mark.parametrize(
    "shape",
    [
        '{"text":"%s"}',
        '{"by":"c","text":"%s","to":"c"}',  # the text of the second event is "c"
        '{"text":"%s","of":"text"}',
        '{"text":\n"%s",\n"by":1,\n"n":2}',
    ],
)
@pytest.mark.parametrize("type_", ["t", "message"])
def test_events_that_differ_in_the_text_alone_are_not_parsed_one_by_one(
    shape: str, type_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = list[bytes]()

    def noted(data: bytes) -> dict[str, Any] | None:
        parsed.append(data)
        return object_of(data)

    monkeypatch.setattr(texts, "object_of", noted)
    sent = [frame(ms, shape % "abcd"[ms % 4], type_) for ms in range(1, 101)]
    (value,) = appended("text", sent)
    # The first one, and the second with what is around its text.
    assert parsed[:2] == [sent[0].data, sent[1].data]
    assert len(parsed) == 3
    assert value_of("text", value).lengths == (1,) * 100
    assert json.loads(value_of("text", value).data)["text"] == "bcda" * 25


def test_a_text_of_an_inner_object_is_not_taken_for_that_of_the_event() -> None:
    alike, other = '{"o":{"text":"a"},"text":"a"}', '{"o":{"text":"z"},"text":"a"}'
    assert joined(alike, alike, other) == [b'{"o":{"text":"a"},"text":"aa"}', other.encode()]


def test_a_long_text_is_kept_in_few_pieces() -> None:
    values, expected = list[Value | Growing](), ""
    for number in range(1, 300):
        values = appended("text", [*values, frame(number, {"text": f"{number},"})])
        expected += f"{number},"
        (last,) = values
        assert isinstance(last, Growing)
        assert len(last.pieces) <= 64
    assert value_of("text", last).data == b'{"text":"%b"}' % expected.encode()
    assert value_of("text", last).lengths == tuple(len(f"{n},") for n in range(1, 300))


_DATA = st.one_of(
    st.dictionaries(
        st.sampled_from(["text", "tool"]), st.sampled_from(["", "x", "é", '"', "text"]), max_size=2
    ),
    st.sampled_from(["plain", '{"text": "y"}', '{"text":\n"z"}', '{"tool":1.0,"text":"y"}']),
)


@given(st.lists(st.tuples(st.sampled_from("tu"), _DATA), max_size=12), st.data())
def test_folding_in_steps_gives_what_folding_at_once_gives(
    sent: list[tuple[str, Any]], draw: st.DataObject
) -> None:
    events = [frame(ms, data, type_) for ms, (type_, data) in enumerate(sent, 1)]
    at_once = [value_of("text", value) for value in appended("text", events)]
    values = list[Value | Growing]()
    while events:
        size = draw.draw(st.integers(1, len(events)))
        values = appended("text", [*values, *events[:size]])
        if draw.draw(st.booleans()):  # as a checkpoint has them
            values = [value_of("text", value) for value in values]
        events = events[size:]
    assert [value_of("text", value) for value in values] == at_once
