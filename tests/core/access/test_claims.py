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
        ({"exp": NOW_S - 5}, "expired"),
        ({"nbf": NOW_S + 5.1}, "not valid yet"),
        ({"iat": NOW_S + 5.1, "exp": NOW_S + 20}, "not valid yet"),
        ({"exp": None}, "no exp"),
        ({"exp": "soon"}, "no time"),
        ({"exp": True}, "no time"),
        ({"exp": float("nan")}, "no time"),
        ({"exp": float("inf")}, "no time"),
        ({"exp": 10**400}, "no time"),
        ({"iat": []}, "no time"),
        ({"sub": 7}, "sub is no text"),
        ({"jti": None}, "jti is no text"),
        ({"exp": NOW_S + 96}, "lives longer"),
        ({"iat": None, "exp": NOW_S + 106}, "lives longer"),
        ({"aud": "hub"}, "another audience"),
        ({"aud": 7}, "neither a text nor a list"),
    ],
)
def test_a_wrong_claim_is_refused(claims: dict[str, Any], said: str) -> None:
    assert said in refused(**claims)


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
