"""Turns among addresses, and among the clients of one address."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.core.fanout.turns import Reader, Turns, network


def taken(turns: Turns[str]) -> str:
    found = ""
    while one := turns.take():
        found += one[1]
    return found


def test_addresses_take_turns_however_many_reads_they_wait_for() -> None:
    turns: Turns[str] = Turns()
    for read in "aaaaa":
        turns.add(Reader("a"), read)
    for read in "bb":
        turns.add(Reader("b"), read)
    assert turns.take() == ("a", "a")
    turns.add(Reader("c"), "c")
    assert taken(turns) == "bacbaaa"


def test_an_address_that_is_busy_has_no_turn_and_keeps_its_place() -> None:
    turns: Turns[str] = Turns()
    for address in "aab":
        turns.add(Reader(address), address)
    assert turns.take({"a"}) == ("b", "b")
    assert turns.take({"a"}) is None
    assert turns
    assert taken(turns) == "aa"


def test_the_client_whose_pages_have_cost_least_is_next_at_its_address() -> None:
    turns: Turns[str] = Turns()
    old = [Reader() for _ in range(3)]
    for reader, read in zip(old, "xyz", strict=True):
        reader.charge(1.0)
        turns.add(reader, read)
    new = Reader()
    turns.add(new, "1")
    old[1].charge(1.0)
    turns.add(old[1], "w")
    assert taken(turns) == "1zyxw"


def test_of_clients_that_have_read_nothing_the_newest_is_next() -> None:
    turns: Turns[str] = Turns()
    for read in "xyz":
        turns.add(Reader(), read)
    assert turns.take() == ("", "z")
    turns.add(Reader(), "1")
    assert taken(turns) == "1yx"


def test_a_client_rests_for_what_was_left_out_of_its_page() -> None:
    reader = Reader()
    reader.charge(0.002)
    assert reader.rest_s == 5 * 0.002
    reader.sent(0.5)
    assert reader.rest_s == 2.5 * 0.002
    reader.sent(3.0)
    assert (reader.rest_s, reader.spent_s) == (0.0, 0.002)
    reader.charge(0.004)
    assert (reader.rest_s, reader.spent_s) == (5 * 0.004, 0.006)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=30))
def test_each_read_is_taken_once_and_no_address_waits_for_two_rounds(
    added: list[tuple[str, int]],
) -> None:
    turns: Turns[tuple[str, int]] = Turns()
    for number, (address, spent) in enumerate(added):
        turns.add(Reader(address, spent_s=spent), (address, number))
    order = []
    while one := turns.take():
        order.append(one[1])
    assert sorted(order) == sorted((address, n) for n, (address, _) in enumerate(added))
    for address in {address for address, _ in added}:
        places = [place for place, (of, _) in enumerate(order) if of == address]
        others = len({of for of, _ in order})
        assert all(b - a <= others for a, b in pairwise(places))


@pytest.mark.parametrize(
    ("address", "shared"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("not:an:address", "not:an:address"),
        ("", ""),
    ],
)
def test_what_the_clients_of_one_network_share(address: str, shared: str) -> None:
    assert network((address, 40000)) == shared
    assert network(None) == ""
