"""The arguments of a policy, and its possible results."""

from __future__ import annotations

from typing import Any

import pytest

from broadcaster.core.access.policy import Action, Caller, Denied, Grant, public


def test_cookies_are_read_and_of_two_with_one_name_the_first_counts() -> None:
    caller = Caller({"cookie": 'session="a,b"; x=1=2;lone; session=other; '})
    assert caller.cookies == {"session": "a,b", "x": "1=2"}
    assert Caller({}).cookies == {}


def test_the_query_has_all_values_of_a_parameter() -> None:
    assert Caller({}, "a=1&b=%C3%A4&a=2").query == {"a": ("1", "2"), "b": ("ä",)}


@pytest.mark.parametrize("status", [200, 204, 400, 404, 500, 503])
def test_a_refusal_is_401_or_403(status: int) -> None:
    with pytest.raises(ValueError, match="401 or 403"):
        Denied("no", status)
    assert Denied("no", 401).status == 401
    assert Denied("no").status == 403


def test_everything_is_public_by_default() -> None:
    assert public(Caller({}), Action.SUBSCRIBE, "orders", frozenset()) == Grant()


def test_keys_are_a_set_and_no_text() -> None:
    with pytest.raises(TypeError, match="a set of keys, not the text '17'"):
        Grant(keys="17")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        {"keys": frozenset([17])},
        {"subject": 17},
        {"expires_s": "tomorrow"},
        {"expires_s": float("nan")},
    ],
)
def test_a_grant_of_other_types_is_a_mistake_of_the_policy(wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"17|tomorrow|nan"):
        Grant(**wrong)
    assert Grant("ann", frozenset(["17"]), float("inf")).expires_s == float("inf")
