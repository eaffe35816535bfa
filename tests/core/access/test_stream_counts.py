"""Streams are counted by owner: here, and at the other nodes as these tell."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broadcaster.core.access.stream_counts import TOLD, StreamCounts, hashed


def test_an_owner_may_have_so_many_and_no_more() -> None:
    places = StreamCounts(2)
    for _ in range(2):
        assert not places.full("a")
        places.take("a")
    assert places.full("a")
    assert not places.full("b")
    places.free("a")
    assert not places.full("a")
    places.free("a")
    assert places.taken == 0
    assert places.for_others() == {}


def test_without_a_limit_or_a_name_nothing_is_counted() -> None:
    for places, owner in ((StreamCounts(0), "a"), (StreamCounts(1), "")):
        for _ in range(3):
            assert not places.full(owner)
            places.take(owner)
        assert places.taken == 0
        places.free(owner)


def test_the_streams_of_other_nodes_count_until_they_tell_something_else() -> None:
    here, there, third = StreamCounts(3), StreamCounts(3), StreamCounts(3)
    for places in (here, there, third):
        places.take("a")
    here.learn([there.for_others(), third.for_others()])
    assert here.full("a")
    assert not there.full("a")
    here.learn([there.for_others()])
    assert not here.full("a")
    here.learn([])
    assert here.for_others() == {f"{hashed('a'):x}": 1}


def test_what_is_no_count_of_an_owner_does_not_count() -> None:
    places, owner = StreamCounts(2), f"{hashed('a'):x}"
    places.learn([{"": 9, "0" * 4 + owner: 9, owner: "9"}, {owner: 1}])
    assert not places.full("a")
    places.take("a")
    assert places.full("a")


def test_what_is_told_shows_no_owner_and_has_a_bound() -> None:
    places = StreamCounts(5)
    places.take("2001:db8::/64")
    for number in range(TOLD):
        places.take(f"10.0.{number}")
        places.take(f"10.0.{number}")
    told = places.for_others()
    assert len(told) == TOLD
    assert set(told.values()) == {2}
    assert not any("10.0" in owner for owner in told)


SCALAR = st.none() | st.integers() | st.text("0aF", max_size=18)
COUNTS = st.dictionaries(st.text("0aFx", max_size=18), SCALAR, max_size=3)


@given(st.lists(SCALAR | COUNTS, max_size=3))
def test_whatever_another_node_tells_does_no_harm(told: list[object]) -> None:
    places = StreamCounts(1)
    places.learn(told)
    places.take("a")
    assert places.full("a")


def test_each_name_has_a_hash_of_its_own() -> None:
    names = [*(f"10.0.0.{n}" for n in range(256)), "ann", "\udcff", "x" * 10_000]
    assert len({hashed(name) for name in names}) == len(names)
