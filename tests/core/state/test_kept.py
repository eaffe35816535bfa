"""The rows of a fold: what is kept of a key is small, and gives the same values again."""

from __future__ import annotations

import pytest

from broadcaster.core.entry import frame_of
from broadcaster.core.event import EventId
from broadcaster.core.sse import Frame
from broadcaster.core.state import kept
from broadcaster.core.state.folding import fold
from broadcaster.core.state.kept import KeyRow
from broadcaster.core.state.values import Rules, Value

LAST, MERGE, APPEND = Rules("last"), Rules("merge"), Rules("append", append="text")


def frame(ms: int, data: object = "d", type: str = "t") -> Frame:
    return frame_of(EventId(ms, 7), type=type, key="k", data=data)


def test_an_event_replaces_that_of_its_type() -> None:
    sent = [frame(1), frame(2, "two\nlines", "message"), frame(3, "data: x", "é"), frame(4, "long")]
    sent += [frame(5, "e", "message"), frame(6, "f", "t2"), frame(7, "", "é")]
    row: KeyRow = ()
    size = 0
    for number, each in enumerate(sent, 1):
        row, grown = kept.replaced(row, each)
        size += grown
        assert size == kept.size(row)
        assert kept.values(LAST, "k", row) == fold(LAST, sent[:number])
        assert kept.newest(row) == (each.id, each.type)
    assert [(f.id.ms, f.type, f.data) for f in kept.frames(LAST, "k", row)] == [
        (4, "t", b"long"), (5, "message", b"e"), (6, "t2", b"f"), (7, "é", b""),
    ]  # fmt: skip
    assert kept.frames(LAST, "k", row)[0] == sent[3]


@pytest.mark.parametrize("rules", [LAST, MERGE, APPEND])
def test_a_row_shows_its_values_folded_or_not(rules: Rules) -> None:
    events = [frame(ms, {"text": str(ms), f"n{ms}": ms}, "tu"[ms % 2]) for ms in range(1, 6)]
    row: KeyRow = ()
    for each in events:
        row = kept.replaced(row, each)[0] if rules is LAST else (*row, each)
    of_values: KeyRow = ()
    for value in fold(rules, events):
        of_values = kept.added(rules, of_values, value)
    rows = [row, of_values, *([] if rules is LAST else [kept.folded(rules, "k", row)])]
    for each_row in rows:
        assert kept.values(rules, "k", each_row) == fold(rules, events)
        frames = kept.frames(rules, "k", each_row)
        assert [Value(f.id, f.type, "k", f.data) for f in frames] == [
            value._replace(lengths=()) for value in fold(rules, events)
        ]
        assert kept.shown(rules, "k", each_row) == [f.without_id() for f in frames]
        assert kept.newest(each_row) == (EventId(5, 7), "u")
        assert kept.size(each_row) > 0


def test_texts_grow_in_their_row() -> None:
    row = kept.folded(APPEND, "k", (frame(1, {"text": "a"}), frame(2, {"text": "b"})))
    size = kept.size(row)
    row = kept.folded(APPEND, "k", (*row, frame(3, {"text": "cd"})))
    assert kept.size(row) == size + 2
    assert [value.data for value in kept.values(APPEND, "k", row)] == [b'{"text":"abcd"}']
    assert kept.shown(APPEND, "k", row) == [b'event: t\ndata: {"text":"abcd"}\n\n']


def test_the_size_of_a_row_is_that_of_all_it_has() -> None:
    texts = kept.folded(APPEND, "k", (frame(1, {"text": "a"}), frame(2, {"text": "bc"}, "u")))
    events = frame(3), frame(4, "four", "u")
    wires = tuple(each.wire for each in events)
    of_values = sum(len(value.data) for value in kept.values(APPEND, "k", texts))
    assert kept.size(texts) == of_values + len("a") + len("bc")  # with what may grow
    assert kept.size(wires) == sum(map(len, wires)) == kept.size(events)
    assert kept.size((*texts, *events)) == kept.size(texts) + kept.size(events)
