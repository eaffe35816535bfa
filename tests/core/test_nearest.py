"""The name that was meant."""

from __future__ import annotations

import tracemalloc

import pytest

from broadcaster.core.nearest import did_you_mean, nearest, slip

SETTINGS = ("max_connections", "maxlen", "channels", "redis_url", "port")
OURS = frozenset({"from", "type", "key", "channel", "petId", "lastEventId", "q"})


@pytest.mark.parametrize(
    ("name", "meant"),
    [("max_conections", "max_connections"), ("MAXLENN", "maxlen"), ("channel", "channels"),
     ("redis-url", "redis_url"), ("redisUrl", "redis_url"), ("prot", "port"), ("colour", None),
     ("x" * 1_000_000, None)],
)  # fmt: skip
def test_the_nearest_name_is_found(name: str, meant: str | None) -> None:
    assert nearest(name, SETTINGS) == meant
    assert did_you_mean(name, SETTINGS) == (f"did you mean {meant}?" if meant else "")


@pytest.mark.parametrize(
    ("name", "meant"),
    [("form", "from"), ("fron", "from"), ("From", "from"), ("FROM", "from"), ("fromm", "from"),
     ("frm", "from"), ("Type", "type"), ("types", "type"), ("tpye", "type"), ("typ", "type"),
     ("channels", "channel"), ("chanel", "channel"), ("chanels", "channel"), ("keys", "key"),
     ("kye", "key"), ("Key", "key"), ("petid", "petId"), ("pet_id", "petId"), ("petIds", "petId"),
     ("lasteventid", "lastEventId"), ("LAST-EVENT-ID", "lastEventId"),
     ("lastEvenId", "lastEventId"), ("Q", "q"), ("qs", "q"), ("fxom", "from")],
)  # fmt: skip
def test_a_slip_of_the_pen_is_seen(name: str, meant: str) -> None:
    assert slip(name, OURS) == meant


def test_of_two_spellings_the_one_with_the_same_separators_is_named() -> None:
    both = frozenset({"Last-Event-ID", "lastEventId"})
    assert slip("lasteventid", both) == "lastEventId"
    assert slip("last-event-id", both) == "Last-Event-ID"


@pytest.mark.parametrize(
    "name",
    ["utm_source", "utm_medium", "gclid", "fbclid", "_ga", "_", "t", "ts", "v", "cb", "ref", "for",
     "format", "token", "ticket", "access_token", "profile", "names", "hey", "ke", "user", "pet",
     "id", "event", "last", "hype", "room", "nonce", "kez", "x" * 1_000_000],
)  # fmt: skip
def test_other_names_are_no_slips(name: str) -> None:
    assert slip(name, OURS) is None


def test_two_letters_in_another_order_are_another_word() -> None:
    assert slip("di", frozenset({"id"})) is None


def test_a_name_of_32_letters_may_be_a_slip() -> None:
    meant = "m" * 31
    assert slip(meant + "x", frozenset({meant})) == meant
    assert slip(meant + "xx", frozenset({meant + "x"})) is None


def test_long_names_of_a_hostile_client_are_not_kept() -> None:
    tracemalloc.start()
    try:
        slip("begin", OURS)
        before = tracemalloc.get_traced_memory()[0]
        for number in range(50):
            assert slip(f"{number}".ljust(20_000, "x"), OURS) is None
        assert tracemalloc.get_traced_memory()[0] - before < 20_000
    finally:
        tracemalloc.stop()
