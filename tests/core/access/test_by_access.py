"""The policy that the channels' own configuration makes."""

from __future__ import annotations

from typing import Any

from broadcaster.core.access.by_access import ByAccess, is_public, policy_of
from broadcaster.core.access.policy import Action, Caller, Decision, Denied, Grant, public
from broadcaster.core.channel import Channel
from broadcaster.errors import ConfigurationError
from tests.saying import saying

OPEN = Channel(name="open", path="/open", access="public")
CLOSED = Channel(name="closed", path="/closed", access="token")
UNSAID = Channel(name="unsaid", path="/unsaid")
CALLER, NONE = Caller({}), frozenset[str]()


def tokens(_: Caller, __: Action, channel: str, ___: frozenset[str], /) -> Decision:
    return Denied(f"{channel} needs a token", 401)


def test_without_keys_of_tokens_channels_are_public() -> None:
    assert policy_of([OPEN, UNSAID], None) is public


def test_without_keys_of_tokens_no_channel_can_need_one() -> None:
    said = (
        "channel 'closed' has access = \"token\", and no key verifies tokens: set token_secrets or "
        "token_keys, or give create_app a policy with authorize="
    )
    with saying(ConfigurationError, said):
        policy_of([OPEN, CLOSED], None)


def test_with_keys_of_tokens_only_what_says_so_is_public() -> None:
    policy: Any = policy_of([OPEN, CLOSED, UNSAID], tokens)
    for action in (Action.SUBSCRIBE, Action.REQUEST, Action.DESCRIBE):
        assert policy(CALLER, action, "open", NONE) == Grant()
        for name in ("closed", "unsaid", "another"):
            assert policy(CALLER, action, name, NONE) == Denied(f"{name} needs a token", 401)


def test_nothing_is_published_without_a_token() -> None:
    policy: Any = policy_of([OPEN], tokens)
    assert policy(CALLER, Action.PUBLISH, "open", NONE) == Denied("open needs a token", 401)


def test_only_the_policies_of_the_hub_are_known_to_be_public() -> None:
    assert is_public(public, "closed")
    assert not is_public(tokens, "open")
    policy = ByAccess(["open"], tokens)
    assert is_public(policy, "open")
    assert not is_public(policy, "closed")


def test_the_policy_of_tokens_is_asked_the_same_question() -> None:
    asked: list[object] = []

    def policy(*question: object) -> Decision:
        asked.append(question)
        return Denied("no")

    question = CALLER, Action.REQUEST, "closed", frozenset({"7"})
    ByAccess(["open"], policy)(*question)
    assert asked == [question]
