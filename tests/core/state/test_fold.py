"""The state of one stream, as a fold of its events."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.core.entry import frame_of
from broadcaster.core.event import ZERO, Event, EventId
from broadcaster.core.sse import Frame, encode, skipped
from broadcaster.core.state import fold as folds
from broadcaster.core.state.fold import Fold
from broadcaster.core.state.folding import fold
from broadcaster.core.state.values import Rules, Value

LAST = Rules("last", frozenset({"sold"}), terminal=frozenset({"complete"}), ttl_ms=100)
MERGE = LAST._replace(kind="merge")
APPEND = LAST._replace(kind="append", append="text")


def frame(ms: int, key: str = "k", type: str = "t", data: Any = "d") -> Frame:
    return frame_of(EventId(ms, 0), type=type, key=key, data=data)


def fold_of(*frames: Frame, rules: Rules = LAST) -> Fold:
    made = Fold(rules)
    made.apply(frames)
    return made


def known(made: Fold) -> dict[str, list[tuple[int, str, bytes]]]:
    return {
        key: [(v.id.ms, v.type, v.data) for v in values]
        for key, values in made.cut().values.items()
    }


def test_a_cut_has_the_values_of_each_key_and_never_changes() -> None:
    made = fold_of(frame(1, "a"), frame(2, "b"), frame(3, "a", data="e"), frame(4, "a", "u"))
    cut = made.cut()
    made.apply([frame(4, "a", data="known")])
    assert made.cut() is cut, "an event that is part of it changes nothing"
    assert (cut.position, cut.since, cut.too_large, len(cut.values)) == (
        EventId(4, 0),
        None,
        False,
        2,
    )
    made.apply([frame(5, "a"), frame(6, "c")])
    assert dict(cut.values) == {
        "a": (Value(EventId(3, 0), "t", "a", b"e"), Value(EventId(4, 0), "u", "a", b"d")),
        "b": (Value(EventId(2, 0), "t", "b", b"d"),),
    }
    assert made.cut() is not cut


def test_an_event_of_removes_takes_its_key_out_and_leaves_a_tombstone() -> None:
    made = fold_of(frame(1, "a"), frame(2, "b"), frame(3, "a", "sold"))
    assert list(known(made)) == ["b"]
    assert made.keys == 1
    assert made.of_key("a") == (Value(EventId(3, 0), "sold", "a", b"", removed=True),)
    made.apply([frame(4, "a", "u")])
    assert known(made)["a"] == [(4, "u", b"d")]
    assert made.of_key("none") == ()


def test_a_key_that_is_over_or_removed_expires_by_the_time_in_ids() -> None:
    over, removed = frame(2, "a", "complete"), frame(2, "b", "sold")
    made = fold_of(frame(1, "a"), over, removed, frame(3, "c", "complete"), frame(102, "d"))
    assert [len(made.of_key(key)) for key in "abcd"] == [2, 1, 1, 1]
    made.apply([frame(103, "c")])
    assert [len(made.of_key(key)) for key in "abcd"] == [0, 0, 2, 1]
    made.apply([frame(5000, "d")])
    assert list(known(made)) == ["c", "d"], "an event after the terminal one keeps a key"


def test_events_that_cannot_be_sent_only_move_the_position() -> None:
    made = fold_of(frame(1), skipped(EventId(2, 0)))
    assert (made.position.ms, known(made)) == (2, {"k": [(1, "t", b"d")]})
    made.apply([])
    assert made.position.ms == 2


def test_a_checkpoint_may_have_values_that_are_ahead_of_its_position() -> None:
    values = [
        Value(EventId(5, 0), "t", "a", b'{"text":"abc"}', (1, 2)),
        Value(EventId(3, 0), "t", "b", b""),
    ]
    gone = Value(EventId(6, 0), "sold", "c", b"", removed=True)
    made = fold_of(frame(1, "z"), rules=APPEND)
    made.load(EventId(2, 0), EventId(1, 0), [*values, gone])
    assert (made.cut().since, list(known(made))) == (EventId(1, 0), ["a", "b"])
    texts = [("b", "1"), ("a", "no"), ("a", "no"), ("c", "no"), ("a", "d"), ("c", "e"), ("n", "f")]
    made.apply([frame(ms, key, data={"text": text}) for ms, (key, text) in enumerate(texts, 3)])
    assert known(made) == {
        "a": [(7, "t", b'{"text":"abcd"}')],
        "b": [(3, "t", b"")],
        "c": [(8, "t", b'{"text":"e"}')],
        "n": [(9, "t", b'{"text":"f"}')],
    }
    assert made.of_key("a")[0].lengths == (1, 2, 1)


def test_what_a_checkpoint_has_expires_too() -> None:
    made = Fold(LAST)
    over = Value(EventId(8, 0), "complete", "a", b"")
    removed = Value(EventId(7, 0), "sold", "b", b"", removed=True)
    made.load(EventId(9, 0), None, [over, removed])
    made.take_changed()
    made.apply([frame(108)])
    assert made.take_changed() == {"b", "k"}
    made.apply([frame(109)])
    assert made.take_changed() == {"a", "k"}
    assert (made.of_key("a"), made.of_key("b")) == ((), ())


def test_the_first_call_of_take_changed_has_all_keys_and_the_next_what_changed() -> None:
    made = fold_of(frame(1, "a"), frame(2, "b", "sold"))
    assert made.take_changed() == {"a", "b"}
    made.apply([frame(3, "c"), frame(4, "a", "sold")])
    assert made.take_changed() == {"c", "a"}
    made.apply([frame(200, "c")])
    assert made.take_changed() == {"c", "a", "b"}
    made.apply([frame(201, "c")])
    made.load(ZERO, None, [])
    assert made.take_changed() == set()


def test_drop_forgets_everything() -> None:
    made = fold_of(frame(1, "a"), frame(2, "b", "sold"))
    made.offered = True
    made.drop()
    assert (made.offered, made.position, known(made), made.of_key("b")) == (False, ZERO, {}, ())


def test_a_state_that_is_too_large_is_forgotten_whole() -> None:
    made = Fold(LAST._replace(max_bytes=100))
    made.apply([frame(1, data="x" * 50), frame(2, data="y" * 50)])
    assert len(known(made)) == 1, "only the newest event of the type counts"
    made.apply([frame(3, "b", data="x" * 50)])
    assert (made.cut().too_large, known(made), made.bytes) == (True, {}, 0)
    made.apply([frame(4)])
    assert (made.cut().position.ms, known(made)) == (4, {})
    made.load(ZERO, None, [])
    assert not made.cut().too_large


@pytest.mark.parametrize("rules", [MERGE, APPEND])
def test_many_events_of_a_key_are_folded_in_time(rules: Rules) -> None:
    made = Fold(rules)
    for ms in range(1, 1001):
        made.apply([frame(ms, data={"text": "x"})])
    assert made.bytes < 8_000, "they are no longer kept one by one"
    (value,) = made.of_key("k")
    text = "x" * 1000 if rules is APPEND else "x"
    assert (json.loads(value.data), value.id.ms) == ({"text": text}, 1000)
    made.apply([frame(1001, type="sold")])
    assert made.bytes == 0


def test_events_of_many_keys_are_folded_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value may be much smaller than its event."""
    monkeypatch.setattr(folds, "_UNFOLDED_KEYS", 3)
    made, data = Fold(MERGE), {"n": 1, **{f"gone{n}": None for n in range(100)}}
    made.apply([frame(ms, str(ms), data=data) for ms in range(1, 21)])
    size = len(frame(1, data=data).wire)
    assert 3 * size < made.bytes < 5 * size
    cut = made.cut()
    made.apply([frame(21, "20", data={"n": 2}), frame(22, "1", type="sold")])
    assert [made.of_key(str(ms))[0].data for ms in (7, 20)] == [b'{"n":1}', b'{"n":2}']
    assert cut.values["20"][0].data == b'{"n":1}', "a cut does not change"
    assert sorted(cut.values, key=int) == [str(ms) for ms in range(1, 21)]
    made.apply([frame(23, str(ms), type="sold") for ms in range(1, 21)])
    assert (made.bytes, made.keys) == (0, 0)


def test_a_state_is_too_large_if_its_values_are_and_not_their_events() -> None:
    made, data = Fold(MERGE._replace(max_bytes=2000)), {"n": 1, "gone": None}
    for ms in range(1, 1001):
        made.apply([frame(ms, str(ms % 9), data=data)])
    assert (made.too_large, made.keys) == (False, 9)
    made.apply([frame(1001, "large", data={"text": "x" * 2000})])
    assert (made.too_large, made.bytes, dict(made.cut().values)) == (True, 0, {})


_DATA = st.one_of(
    st.dictionaries(
        st.sampled_from(["text", "n"]), st.sampled_from(["", "é", None, 1, {"a": None}])
    ),
    st.sampled_from(["", "plain", "two\nlines"]),
)
_SENT = st.lists(
    st.tuples(
        st.integers(1, 60),
        st.sampled_from("abc"),
        st.sampled_from(["t", "u", "sold", "complete"]),
        _DATA,
    ),
    max_size=25,
)


def expected(rules: Rules, frames: list[Frame]) -> dict[str, tuple[Value, ...]]:
    """The state by its definition: what a key has had since it was last removed or had expired."""
    found = dict[str, list[Frame]]()
    for each in frames:
        for key, of in list(found.items()):
            is_over = of[-1].type in rules.terminal
            if is_over and of[-1].id.ms + rules.ttl_ms < each.id.ms:
                del found[key]
        if each.type in rules.removes:
            found.pop(each.key, None)
        else:
            found.setdefault(each.key, []).append(each)
    return {key: fold(rules, of) for key, of in found.items()}


@given(_SENT, st.data(), st.sampled_from([LAST, MERGE, APPEND]))
def test_a_fold_is_that_of_its_events_however_they_come(
    sent: list[tuple[int, str, str, Any]], draw: st.DataObject, rules: Rules
) -> None:
    frames, ms = [], 0
    for later, key, type_, data in sent:
        ms += later
        frames.append(frame(ms, key, type_, data))
    at, ahead = sorted(draw.draw(st.tuples(*[st.integers(0, len(frames))] * 2)))
    before, further = fold_of(*frames[:at], rules=rules), fold_of(*frames[:ahead], rules=rules)
    # A checkpoint is read position first: each key may be that of a later moment.
    keys = draw.draw(st.sets(st.sampled_from("abc")))
    values = [v for key in "abc" for v in (further if key in keys else before).of_key(key)]
    made = Fold(rules)
    made.load(before.position, None, values)
    rest = frames[at:]
    while rest:
        size = draw.draw(st.integers(1, len(rest)))
        made.apply(rest[:size])
        rest = rest[size:]
        done = frames[: len(frames) - len(rest)]
        if len(done) >= ahead:
            assert dict(made.cut().values) == expected(rules, done)


def test_a_run_that_begins_anew_forgets_what_came_before() -> None:
    begun = [frame(1, data={"text": "a"}), frame(2, data={"text": "b"}), frame(3, "other")]
    again = encode(Event(EventId(4, 0), "stream.restart", "k", b"{}"))
    made = fold_of(*begun, again, frame(5, data={"text": "c"}), rules=APPEND)
    assert known(made) == {
        "k": [(4, "stream.restart", b"{}"), (5, "t", b'{"text":"c"}')],
        "other": [(3, "t", b"d")],
    }


def test_the_bytes_are_those_of_the_values_however_the_state_was_made() -> None:
    large, small = frame(3, "a", data="larger"), frame(4, "a", data="s")
    made = fold_of(frame(1, "a"), frame(2, "b"), large)
    assert made.bytes == len(large.wire) + len(frame(2, "b").wire)
    made.apply([small])
    assert made.bytes == len(small.wire) + len(frame(2, "b").wire)
    loaded = Fold(LAST)
    values = [value for row in made.cut().values.values() for value in row]
    loaded.load(made.position, None, values)
    assert loaded.bytes == made.bytes


def test_what_is_passed_over_hides_nothing_that_comes_after_it() -> None:
    made = Fold(LAST)
    made.load(EventId(1, 0), None, [Value(EventId(5, 0), "t", "ahead", b"d")])
    before, early, unsent = frame(1, "a"), frame(2, "ahead"), skipped(EventId(3, 0))
    made.apply([before, early, unsent, frame(4, "b")])
    assert known(made) == {"ahead": [(5, "t", b"d")], "b": [(4, "t", b"d")]}


def test_objects_are_merged_as_deep_as_they_are() -> None:
    first, second = {"a": {"b": {"c": 1, "d": 2}}, "x": 1}, {"a": {"b": {"d": None, "e": 3}}}
    made = fold_of(frame(1, data=first), frame(2, data=second), rules=MERGE)
    ((_, _, data),) = known(made)["k"]
    assert json.loads(data) == {"a": {"b": {"c": 1, "e": 3}}, "x": 1}
