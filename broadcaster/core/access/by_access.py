"""The policy of the channels' own configuration: some are public, some need a token. Pure."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable

from broadcaster.core.access.policy import Action, Caller, Decision, Grant, Policy, public
from broadcaster.core.channel import Channel
from broadcaster.errors import ConfigurationError


class ByAccess:
    """Grants what is public, and passes all other questions on; see `Policy`."""

    def __init__(self, public_channels: Iterable[str], tokens: Policy) -> None:
        """Store the arguments.

        Args:
            public_channels: the names of channels that every caller may read.
            tokens: decides about the other ones.
        """
        self._public = frozenset(public_channels)
        self._tokens = tokens

    def is_public(self, channel: str) -> bool:
        """Return True if every caller may read this channel."""
        return channel in self._public

    def __call__(
        self, caller: Caller, action: Action, channel: str, keys: frozenset[str], /
    ) -> Decision | Awaitable[Decision]:
        """Decide about one channel of a request. Nothing is published without a token."""
        if self.is_public(channel) and action is not Action.PUBLISH:
            return Grant()
        return self._tokens(caller, action, channel, keys)


def policy_of(channels: Iterable[Channel], tokens: Policy | None) -> Policy:
    """Return the policy of a hub that is given no other.

    Args:
        channels: of the hub. A channel without `access` needs a token if a key can verify tokens,
            and is public otherwise.
        tokens: decides by the caller's token; None if no key can verify one.

    Raises:
        ConfigurationError: a channel needs a token, and no key can verify one.
    """
    channels = tuple(channels)
    if tokens is not None:
        return ByAccess([c.name for c in channels if c.access == "public"], tokens)
    if closed := [channel.name for channel in channels if channel.access == "token"]:
        raise ConfigurationError(
            f'channel {closed[0]!r} has access = "token", and no key verifies tokens: set '
            "token_secrets or token_keys, or give create_app a policy with authorize="
        )
    return public


def is_public(policy: Policy, channel: str) -> bool:
    """Return True if a policy grants every caller to read a channel, so that it need not be asked.

    Args:
        policy: any.
        channel: the name of a channel.
    """
    return policy is public or (isinstance(policy, ByAccess) and policy.is_public(channel))
