"""Asks the policy what the sender of a request may publish, by the keys of its events."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

from broadcaster.core.access.grants import EVERY, Holder, holder_of
from broadcaster.core.access.policy import Action, Caller, Denied, Grant, public
from broadcaster.core.access.presented import bearer
from broadcaster.web.access.asking import PolicyFailedError
from broadcaster.web.access.callers import caller_of, verified
from broadcaster.web.access.decisions import decide
from broadcaster.web.problem import ProblemError, RefusalError, refused
from broadcaster.web.serving import GuardedNode

_REMEMBERED = 10_000
_NONE = frozenset[str]()


class Permit:
    """The right of one caller to publish to one channel, as far as the policy was asked.

    Attributes:
        subject: the user or service that publishes; empty if no grant names one.
    """

    def __init__(self, node: GuardedNode, caller: Caller, channel: str) -> None:
        """Store the arguments. The policy is not asked yet.

        Args:
            node: has the policy.
            caller: with the claims of its token.
            channel: its name.
        """
        self.subject: str = caller.claims.get("sub", "")
        self._node = node
        self._caller = caller
        self._channel = channel
        self._covered = set[str]()  # keys; an empty text stands for events without a key
        self._covers_all = False
        self._grants = set[Grant]()

    async def require(self, keys: Collection[str]) -> None:
        """Check that events with these keys may be published now. `""` is an event without a key.

        Raises:
            RefusalError: they may not. 401 or 403.
            PolicyFailedError: the policy can't decide.
            UndecidedError: it can't decide for now.
        """
        for asked in _questions(set(keys) - self._covered):
            if not self._covers_all:
                await self._ask(asked)
        try:
            holder = holder_of(self._grants, self._caller.claims, time.time())
        except ValueError as error:
            raise PolicyFailedError from error
        self._check_holder(holder)

    async def _ask(self, asked: frozenset[str]) -> None:
        found = await decide(self._node.policy, self._caller, Action.PUBLISH, self._channel, asked)
        if isinstance(found, Denied):
            raise RefusalError(refused(found))
        grant, keys = found
        if not asked and keys:
            detail = f"an event without a key needs the right to all of {self._channel!r}"
            raise RefusalError(refused(Denied(detail)))
        if len(self._covered) + len(asked) > _REMEMBERED:
            self._covered.clear()
        self._covered |= asked or {""}
        self._covers_all = EVERY in (grant.keys or ())
        self._grants.add(grant)

    def _check_holder(self, holder: Holder | None) -> None:
        if holder and holder.subject:
            self.subject = holder.subject
        if holder and holder.expires_s is not None and holder.expires_s <= time.time():
            raise RefusalError(refused(Denied("the right to publish has ended", 401)))
        if self._node.revoking.concerns(holder):
            raise RefusalError(refused(Denied("the token was revoked", 401)))


def _questions(keys: set[str]) -> Iterator[frozenset[str]]:
    """Yield what the policy has to be asked: about the keys, and about events without one."""
    if named := frozenset(keys - {""}):
        yield named
    if "" in keys:
        yield _NONE


async def permit(node: GuardedNode, scope: Any, channel: str) -> Permit:
    """Return the permit of a request's sender. The policy is not asked yet.

    Raises:
        ProblemError: nothing is published through this hub, or the sender presents no token.
        RefusalError: its token is not valid.
        PolicyFailedError, UndecidedError: as for `verified`.
    """
    if node.policy is public:
        raise ProblemError(403, "nothing is published here: this hub has neither tokens nor policy")
    given = caller_of(scope)
    if "cookie" in given.headers:
        # A browser adds cookies to what any page sends, so they say nothing about the sender.
        headers = {name: value for name, value in given.headers.items() if name != "cookie"}
        given = replace(given, headers=headers)
    if node.verifier is not None and not bearer(given):
        detail = "publishing needs a token in the header Authorization"
        raise RefusalError(refused(Denied(detail, 401)))
    caller = await verified(node, given)
    if isinstance(caller, Denied):
        raise RefusalError(refused(caller))
    return Permit(node, caller, channel)
