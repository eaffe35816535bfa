"""The policy of a hub that reads tokens: a token says what its caller may do. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from broadcaster.core.access.grants import EVERY
from broadcaster.core.access.policy import Action, Caller, Denied, Grant
from broadcaster.core.access.rights import AllKeys, RefusedTokenError, rights


class ByToken:
    """Grants the rights that a token names; see `Policy`."""

    def __init__(self, key_claims: Mapping[str, str]) -> None:
        """Store the argument.

        Args:
            key_claims: the name of a claim, by channel: its value is a key that may be read there.
        """
        self._key_claims = key_claims

    def __call__(
        self, caller: Caller, action: Action, channel: str, _: frozenset[str], /
    ) -> Grant | Denied:
        """Return all that the token of a caller grants, whatever keys the caller wants."""
        if not caller.claims:
            return Denied("this needs a token", 401)
        try:
            allowed = rights(caller.claims, self._key_claims).keys(channel, action)
        except RefusedTokenError as error:
            return Denied(str(error), 401)
        if allowed is None:
            return Denied(f"the token gives no right to {action} {channel!r}")
        keys = frozenset({EVERY}) if isinstance(allowed, AllKeys) else allowed
        return Grant(caller.claims.get("sub", ""), keys, caller.claims.get("exp"))
