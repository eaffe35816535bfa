"""The registered claims of a token: its times, its audience, its subject."""

from __future__ import annotations

from typing import Any

import pytest

from broadcaster.core.access.claims import Expected, checked
from broadcaster.core.access.rights import RefusedTokenError

NOW_S = 1_000_000.0
GOOD = {"sub": "ann", "jti": "t1", "iat": NOW_S - 10, "exp": NOW_S + 10}
EXPECTED = Expected(leeway_s=5, longest_s=100)


def refused(expected: Expected = EXPECTED, **claims: Any) -> str:
    with pytest.raises(RefusedTokenError) as info:
        checked({**GOOD, **claims}, expected, NOW_S)
    return str(info.value)


def test_the_end_of_a_good_token_has_the_leeway_in_it() -> None:
    assert checked(GOOD, EXPECTED, NOW_S) == {**GOOD, "exp": NOW_S + 15}
    assert checked({"exp": NOW_S + 10}, EXPECTED, NOW_S) == {"exp": NOW_S + 15}


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"exp": NOW_S - 5}, "the token has expired"),
        ({"nbf": NOW_S + 5.1}, "the token is not valid yet"),
        ({"iat": NOW_S + 5.1, "exp": NOW_S + 20}, "the token is not valid yet"),
        ({"exp": None}, "the token has no exp, so it would be good for ever"),
        ({"exp": "soon"}, "the claim exp is no time"),
        ({"exp": True}, "the claim exp is no time"),
        ({"exp": float("nan")}, "the claim exp is no time"),
        ({"exp": float("inf")}, "the claim exp is no time"),
        ({"exp": 10**400}, "the claim exp is no time"),
        ({"iat": []}, "the claim iat is no time"),
        ({"sub": 7}, "the claim sub is no text"),
        ({"jti": None}, "the claim jti is no text"),
        ({"exp": NOW_S + 96}, "the token lives longer than max_token_s allows"),
        ({"iat": None, "exp": NOW_S + 106}, "the token lives longer than max_token_s allows"),
        ({"aud": "hub"}, "the token is for another audience"),
        ({"aud": 7}, "the claim aud is neither a text nor a list"),
    ],
)
def test_a_wrong_claim_is_refused(claims: dict[str, Any], said: str) -> None:
    assert refused(**claims) == said


def test_a_token_without_a_beginning_is_valid_from_1970_on() -> None:
    assert checked({"exp": 1.0}, Expected(), 0.0) == {"exp": 1.0}


def test_a_time_is_less_than_thirty_thousand_years_from_1970() -> None:
    for odd_s in (1e12, -1e12):
        assert refused(iat=odd_s) == "the claim iat is no time"


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": NOW_S - 4.9},
        {"nbf": NOW_S + 5},
        {"iat": NOW_S + 5},
        {"exp": NOW_S + 95},
        {"iat": None, "exp": NOW_S + 105},
    ],
)
def test_clocks_may_differ_by_the_leeway(claims: dict[str, Any]) -> None:
    assert checked({**GOOD, **claims}, EXPECTED, NOW_S)


@pytest.mark.parametrize("aud", ["hub", ["shop", "hub"]])
def test_the_audience_is_one_of_those_that_are_named(aud: Any) -> None:
    assert checked({**GOOD, "aud": aud}, Expected("hub"), NOW_S)
    assert "audience" in refused(Expected("other"), aud=aud)


@pytest.mark.parametrize("aud", [[], ["shop"], [["hub"]], ""])
def test_a_token_for_no_audience_is_refused_where_one_is_expected(aud: Any) -> None:
    assert "audience" in refused(Expected("hub"), aud=aud)
