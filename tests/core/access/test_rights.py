"""The rights of a token: channels and keys, and never a key that only looks like another one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.core.access.policy import Action
from broadcaster.core.access.rights import (
    ALL,
    CLAIM,
    RefusedTokenError,
    Rights,
    rights,
    rights_of_ticket,
)
from tests.saying import saying

ODD = [128 * "é", "a:b", "*x", "x*", "a/b", "a\0b", "a%2Fb", "..", "é", "é", "A", "a ", "ﬁ"]


def of(*subscribe: str, publish: tuple[str, ...] = ()) -> Rights:
    return rights({CLAIM: {"subscribe": list(subscribe), "publish": list(publish)}})


def test_a_right_names_a_channel_or_a_channel_and_a_key() -> None:
    found = of("inventory", "orders:7", "orders:8", publish=("orders:*",))
    assert found.keys("inventory", Action.SUBSCRIBE) is ALL
    assert found.keys("orders", Action.SUBSCRIBE) == frozenset({"7", "8"})
    assert found.keys("orders", Action.PUBLISH) is ALL
    assert found.keys("inventory", Action.PUBLISH) is None
    assert found.keys("nothing", Action.SUBSCRIBE) is None


@pytest.mark.parametrize("action", [Action.REQUEST, Action.DESCRIBE])
def test_a_request_and_a_description_need_the_right_to_read(action: Action) -> None:
    found = of("orders:7", publish=("inventory",))
    assert found.keys("orders", action) == frozenset({"7"})
    assert found.keys("inventory", action) is None


@pytest.mark.parametrize("texts", [("orders:*", "orders:7"), ("orders:7", "orders")])
def test_the_right_to_every_key_is_more_than_that_to_one(texts: tuple[str, ...]) -> None:
    assert of(*texts).keys("orders", Action.SUBSCRIBE) is ALL


@pytest.mark.parametrize("key", ODD)
def test_a_key_is_taken_as_it_is(key: str) -> None:
    assert of(f"orders:{key}").keys("orders", Action.SUBSCRIBE) == frozenset({key})


def test_a_star_is_no_pattern_and_no_channel() -> None:
    assert of("*").keys("orders", Action.SUBSCRIBE) is None
    assert of("*:7").keys("orders", Action.SUBSCRIBE) is None
    assert of("ord*").keys("orders", Action.SUBSCRIBE) is None


@given(key=st.text(min_size=1, max_size=64), other=st.text(min_size=1))
def test_no_key_crosses_to_another_one(key: str, other: str) -> None:
    allowed = of(f"orders:{key}").keys("orders", Action.SUBSCRIBE)
    assert allowed is not None
    assert (allowed is ALL) == (key == "*")
    if isinstance(allowed, frozenset):
        assert (other in allowed) == (other == key)


NO_OBJECT = f"the claim {CLAIM} is no object"
NO_LISTS = f"subscribe and publish in the claim {CLAIM} are lists of texts"
NO_KEY = f"a right of the claim {CLAIM} has a colon, and no key"
TOO_LONG = "a key is UTF-8 of 256 bytes at most"


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        (None, NO_OBJECT),
        ([], NO_OBJECT),
        ("orders", NO_OBJECT),
        (7, NO_OBJECT),
        ({"subscribe": "orders"}, NO_LISTS),
        ({"subscribe": [7]}, NO_LISTS),
        ({"publish": {}}, NO_LISTS),
        ({"subscribe": ["orders:"]}, NO_KEY),
        ({"subscribe": ["orders:\ud800"]}, TOO_LONG),
        ({"subscribe": ["orders:" + 128 * "é" + "x"]}, TOO_LONG),
    ],
)
def test_a_claim_that_can_be_no_right_is_refused(claim: Any, said: str) -> None:
    with saying(RefusedTokenError, said):
        rights({CLAIM: claim})


def test_a_token_without_the_claim_has_no_rights() -> None:
    assert rights({"sub": "ann"}) == Rights()


def test_a_claim_can_be_the_key_of_a_channel() -> None:
    found = rights({"sub": "ann", CLAIM: {"subscribe": ["carts:9"]}}, {"carts": "sub", "x": "no"})
    assert found.keys("carts", Action.SUBSCRIBE) == frozenset({"ann", "9"})
    assert found.keys("x", Action.SUBSCRIBE) is None
    assert found.keys("carts", Action.PUBLISH) is None


@pytest.mark.parametrize("value", [None, 7, "", ["ann"], {}, "*"])
def test_a_key_claim_that_can_be_no_key_is_refused(value: Any) -> None:
    with saying(RefusedTokenError, f"the claim {64 * 'n'} can't be a key"):
        rights({65 * "n": value}, {"carts": 65 * "n"})


@pytest.mark.parametrize("value", ["\ud800", 257 * "x"])
def test_a_key_claim_that_no_event_can_have_is_refused(value: str) -> None:
    with saying(RefusedTokenError, TOO_LONG):
        rights({"sub": value}, {"carts": "sub"})


def test_rights_can_be_written_as_a_claim_again() -> None:
    found = of("inventory", "orders:8", "orders:a:b", publish=("orders:*",))
    assert rights({CLAIM: found.named()}) == found


def test_a_claim_adds_no_key_to_the_rights_of_a_ticket() -> None:
    ticket = {"sub": "ann", CLAIM: of("orders:7").named()}
    assert rights(ticket, {"carts": "sub"}) == of("orders:7")


def test_only_a_ticket_has_all_of_its_rights_in_the_claim() -> None:
    found = of("orders:7")
    assert rights_of_ticket({CLAIM: found.named()}) == found
    for claims in ({}, {CLAIM: "orders"}, {CLAIM: {"subscribe": ["orders:7"]}}):
        assert rights_of_ticket(claims) is None
    with pytest.raises(RefusedTokenError):
        rights_of_ticket({CLAIM: {**found.named(), "subscribe": "orders"}})
