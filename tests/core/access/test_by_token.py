"""The policy of tokens: what a token says is what its bearer may do."""

from __future__ import annotations

import pytest

from broadcaster.core.access.by_token import ByToken
from broadcaster.core.access.policy import Action, Caller, Denied, Grant
from broadcaster.core.access.rights import CLAIM

NONE = frozenset[str]()
CLAIMS = {
    "sub": "ann",
    "exp": 7.0,
    CLAIM: {"subscribe": ["inventory", "orders:7"], "publish": ["orders:8"]},
}


def decided(action: Action, channel: str, claims: object = CLAIMS) -> Grant | Denied:
    assert isinstance(claims, dict)
    policy = ByToken({"carts": "sub"})
    return policy(Caller({}, claims=claims), action, channel, NONE)


@pytest.mark.parametrize(
    ("action", "channel", "keys"),
    [
        (Action.SUBSCRIBE, "inventory", {"*"}),
        (Action.DESCRIBE, "orders", {"7"}),
        (Action.REQUEST, "orders", {"7"}),
        (Action.PUBLISH, "orders", {"8"}),
        (Action.SUBSCRIBE, "carts", {"ann"}),
    ],
)
def test_a_token_grants_what_it_names(action: Action, channel: str, keys: set[str]) -> None:
    assert decided(action, channel) == Grant("ann", frozenset(keys), 7.0)


def test_a_token_of_no_subject_grants_to_none() -> None:
    claims = {"exp": 7.0, CLAIM: {"subscribe": ["inventory"]}}
    assert decided(Action.SUBSCRIBE, "inventory", claims) == Grant("", frozenset({"*"}), 7.0)


@pytest.mark.parametrize(
    ("action", "channel"), [(Action.PUBLISH, "inventory"), (Action.SUBSCRIBE, "nothing")]
)
def test_what_it_does_not_name_is_denied(action: Action, channel: str) -> None:
    denied = decided(action, channel)
    assert isinstance(denied, Denied)
    assert denied.status == 403


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({}, "this needs a token"),
        ({"exp": 7.0, CLAIM: 7}, f"the claim {CLAIM} is no object"),
        ({"exp": 7.0, "sub": 7}, "the claim sub can't be a key"),
    ],
)
def test_without_a_token_that_can_be_read_the_caller_says_first_who_it_is(
    claims: object, said: str
) -> None:
    assert decided(Action.SUBSCRIBE, "carts", claims) == Denied(said, 401)
