"""What a ticket says, to whom it is good, and for how long."""

from __future__ import annotations

from typing import Any

import pytest

from broadcaster.core.access.policy import Action, Caller, Denied
from broadcaster.core.access.rights import ALL, CLAIM, RefusedTokenError, Rights, rights
from broadcaster.core.access.ticket import claims_of, narrowed, payload
from tests.saying import saying

SHOP = "https://shop.example"
NOW_S = 1_000_000.0
CLAIMS = {"sub": "ann", "jti": "t1", "iat": NOW_S - 5, "exp": NOW_S + 3600, "aud": "x", "name": "A"}
ORDERS = Rights({"orders": frozenset({"7"})})


def from_(origin: str = "", site: str = "", host: str = "hub.example") -> Caller:
    headers = {"origin": origin, "sec-fetch-site": site, "host": host}
    return Caller({name: value for name, value in headers.items() if value})


def read(said: Any, caller: Caller, now_s: float = NOW_S) -> Any:
    return claims_of(said, caller, now_s)


def test_a_ticket_stands_for_its_token() -> None:
    said = payload(CLAIMS, ORDERS, SHOP, NOW_S, 900)
    claims = read(said, from_(SHOP))
    assert {name: claims[name] for name in claims if name != CLAIM} == {
        "sub": "ann",
        "jti": "t1",
        "iat": NOW_S - 5,
        "exp": NOW_S + 3600,
    }
    assert rights(claims) == ORDERS


def test_it_opens_streams_until_it_expires_and_they_end_with_the_token() -> None:
    said = payload({"exp": NOW_S + 3600}, ORDERS, SHOP, NOW_S, 900)
    assert read(said, from_(SHOP), NOW_S + 899)["exp"] == NOW_S + 3600
    with saying(RefusedTokenError, "the ticket has expired"):
        read(said, from_(SHOP), NOW_S + 900)


def test_it_does_not_outlive_its_token() -> None:
    said = payload({"exp": NOW_S + 60}, ORDERS, SHOP, NOW_S, 900)
    assert said["exp"] == NOW_S + 60


@pytest.mark.parametrize("name", ["exp", "until"])
def test_a_ticket_without_an_end_is_refused(name: str) -> None:
    said = {**payload(CLAIMS, ORDERS, SHOP, NOW_S, 900), name: None}
    with pytest.raises(RefusedTokenError):
        read(said, from_(SHOP))


@pytest.mark.parametrize(
    ("origin", "caller"),
    [
        (SHOP, from_(SHOP)),
        (SHOP, from_(SHOP, "cross-site")),
        ("", from_()),
        ("https://hub.example", from_("", "same-origin")),
        ("https://hub.example", from_()),
    ],
)
def test_it_is_good_for_the_origin_that_asked(origin: str, caller: Caller) -> None:
    assert read(payload(CLAIMS, ORDERS, origin, NOW_S, 900), caller)


@pytest.mark.parametrize(
    ("origin", "caller"),
    [
        (SHOP, from_("https://evil.example")),
        (SHOP, from_()),
        (SHOP, from_("", "same-origin")),
        ("", from_(SHOP)),
        ("", from_("null")),
        ("https://hub.example", from_("", "cross-site")),
        ("https://hub.example", from_("", "none")),
        ("https://hub.example", from_("", "same-origin", host="")),
    ],
)
def test_it_is_good_for_no_other_origin(origin: str, caller: Caller) -> None:
    with saying(RefusedTokenError, "another origin has asked for the ticket"):
        read(payload(CLAIMS, ORDERS, origin, NOW_S, 900), caller)


def test_it_carries_what_may_be_read_and_nothing_else() -> None:
    all_rights = Rights({"inventory": ALL, "orders": frozenset({"7", "8"})}, {"orders": ALL})
    everything = narrowed(all_rights, [], [])
    assert everything == Rights(all_rights.subscribe)
    assert narrowed(all_rights, ["orders"], ["7"]) == ORDERS
    one = narrowed(all_rights, ["inventory"], ["7"])
    assert isinstance(one, Rights)
    assert one.keys("inventory", Action.SUBSCRIBE) == frozenset({"7"})


@pytest.mark.parametrize(
    ("channels", "keys", "missing"),
    [
        (["orders"], ["7", "9" * 65], f"the key '{'9' * 64}'"),
        (["x" * 65], [], f"'{'x' * 64}'"),
        (["orders", "x"], ["7"], "'x'"),
    ],
)
def test_a_right_that_the_token_has_not_is_no_right_of_a_ticket(
    channels: list[str], keys: list[str], missing: str
) -> None:
    assert narrowed(ORDERS, channels, keys) == Denied(f"the token has no right to {missing}")


def test_an_empty_key_is_refused_since_a_ticket_for_it_would_open_nothing() -> None:
    assert isinstance(narrowed(Rights({"inventory": ALL}), ["inventory"], [""]), Denied)


def test_a_token_without_rights_gets_no_ticket() -> None:
    denied = narrowed(Rights(publish={"orders": ALL}), [], [])
    assert denied == Denied("the token has no right to read anything")
