"""What may be published: the questions to the policy, and its answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from broadcaster.core.access.grants import Holder
from broadcaster.core.access.policy import Action, Caller, Denied, Grant, Policy, Verifier, public
from broadcaster.web.access.asking import PolicyFailedError
from broadcaster.web.problem import ProblemError, RefusalError
from broadcaster.web.publishing.permit import Permit, permit

Answer = Callable[[frozenset[str]], Grant | Denied]


class Revoked:
    """Knows one revoked subject."""

    def __init__(self, subject: str = "") -> None:
        self.subject = subject

    def concerns(self, holder: Holder | None) -> bool:
        return holder is not None and bool(holder.subject) and holder.subject == self.subject


class Guard:
    """The part of a node that decides; it remembers what it was asked."""

    verifier: Verifier | None = None

    def __init__(self, answer: Answer) -> None:
        self.asked: list[frozenset[str]] = []
        self.callers: list[Caller] = []
        self.revoking = Revoked()

        def policy(caller: Caller, action: Action, _: str, keys: frozenset[str], /) -> Any:
            assert action is Action.PUBLISH
            self.asked.append(keys)
            self.callers.append(caller)
            return answer(keys)

        self.policy: Policy = policy


def of(guard: Guard, **claims: Any) -> Permit:
    return Permit(guard, Caller({}, claims=claims), "pets")


async def refusal(may: Permit, *keys: str) -> int:
    """The status of the refusal to publish about these keys; 200 if there is none."""
    try:
        await may.require(keys)
    except RefusalError as error:
        return error.response.status_code
    return 200


async def test_the_policy_is_asked_about_keys_and_about_events_without_one() -> None:
    guard = Guard(lambda keys: Grant())
    may = of(guard)
    await may.require(["b", "a", ""])
    assert guard.asked == [frozenset("ab"), frozenset()]
    await may.require(["a", "b", "", "c"])
    assert guard.asked[2:] == [frozenset("c")]


async def test_a_grant_of_every_key_is_asked_for_once() -> None:
    guard = Guard(lambda keys: Grant(keys=frozenset("*")))
    may = of(guard)
    for keys in ("a", "bc", ""):
        await may.require([*keys, ""])
    assert guard.asked == [frozenset("a")]


async def test_a_key_that_looks_like_every_key_is_one() -> None:
    guard = Guard(lambda keys: Grant() if keys == {"*"} else Denied("no"))
    may = of(guard)
    assert await refusal(may, "*") == 200
    assert await refusal(may, "a") == 403


async def test_keys_beyond_a_grant_are_refused() -> None:
    some = Guard(lambda keys: Grant(keys=frozenset("ab")))
    assert await refusal(of(some), "a", "b") == 200
    assert await refusal(of(some), "a", "c") == 403
    assert await refusal(of(some), "a", "") == 403
    assert await refusal(of(Guard(lambda keys: Denied("no", 401))), "a") == 401
    unkeyed = Guard(lambda keys: Denied("no") if keys else Grant())
    assert await refusal(of(unkeyed), "") == 200
    assert await refusal(of(unkeyed), "a") == 403


async def test_a_grant_that_ends_or_is_revoked_ends_what_was_granted() -> None:
    ends_s = time.time() + 60
    guard = Guard(lambda keys: Grant("ann", expires_s=ends_s))
    may = of(guard)
    assert await refusal(may, "a") == 200
    assert may.subject == "ann"
    guard.revoking.subject = "ann"
    assert await refusal(may, "a") == 401
    guard.revoking.subject = ""
    ended = of(guard, exp=time.time() - 1)
    assert await refusal(ended, "a") == 401


async def test_grants_of_two_subjects_are_a_mistake_of_the_policy() -> None:
    guard = Guard(lambda keys: Grant("ann" if keys else "bob"))
    with pytest.raises(PolicyFailedError):
        await of(guard).require(["a", ""])


async def test_many_keys_are_not_remembered_for_ever() -> None:
    guard = Guard(lambda keys: Grant())
    may = of(guard)
    for start in range(0, 30_000, 1_000):
        await may.require([str(n) for n in range(start, start + 1_000)])
    assert len(may._covered) <= 10_000
    await may.require(["0"])
    assert guard.asked[-1] == {"0"}


def scope(**headers: str) -> dict[str, Any]:
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "headers": pairs, "query_string": b"ticket=x", "client": None}


async def test_the_policy_sees_no_cookie() -> None:
    guard = Guard(lambda keys: Grant())
    await (await permit(guard, scope(cookie="session=x", x_user="ann"), "pets")).require(["a"])
    assert guard.callers[0].headers == {"x_user": "ann"}
    assert not guard.callers[0].cookies


async def test_nothing_is_published_where_everything_is_public() -> None:
    guard = Guard(lambda keys: Grant())
    guard.policy = public
    with pytest.raises(ProblemError) as caught:
        await permit(guard, scope(), "pets")
    assert caught.value.response.status_code == 403
