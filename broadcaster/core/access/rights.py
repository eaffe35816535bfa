"""The rights of a token: the keys of each channel that its bearer may read or publish. Pure.

A token names rights in its claim `broadcaster`, as `{"subscribe": ["inventory", "orders:7"]}`. A
right is the name of a channel, or a channel and one key. The first colon separates them, so a key
may contain anything. `*` as the whole key means every key. There are no patterns: `orders:7*` is
the right to the key `7*`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, TypeAlias

from broadcaster.core.access.policy import Action
from broadcaster.core.channel import MAX_KEY_BYTES

CLAIM = "broadcaster"
"""The claim of a token that has its rights."""
_COMPLETE = "complete"  # in this claim: no other claim adds a right
_EVERY = "*"


class RefusedTokenError(Exception):
    """A token is refused. The text says why, without quoting it. The caller may read it."""


class AllKeys(Enum):
    """The right to every key of a channel, and to events without a key."""

    ALL = _EVERY


ALL: Final = AllKeys.ALL
Keys: TypeAlias = frozenset[str] | AllKeys


@dataclass(frozen=True, slots=True)
class Rights:
    """The rights of one token.

    Attributes:
        subscribe: the keys that may be read, by the name of the channel.
        publish: the keys that may be published about.
    """

    subscribe: Mapping[str, Keys] = field(default_factory=dict)
    publish: Mapping[str, Keys] = field(default_factory=dict)

    def keys(self, channel: str, action: Action) -> Keys | None:
        """Return the keys of a channel that an action is allowed for; None if it is for no key.

        A request for what is made on demand, and a description, need the right to read.
        """
        allowed = self.publish if action is Action.PUBLISH else self.subscribe
        return allowed.get(channel)

    def named(self) -> dict[str, list[str] | bool]:
        """Return the claim that has these rights, and says that there are no others."""
        named = {"subscribe": _texts(self.subscribe), "publish": _texts(self.publish)}
        return {**named, _COMPLETE: True}


def rights(claims: Mapping[str, Any], key_claims: Mapping[str, str] | None = None) -> Rights:
    """Read the rights of a token.

    Args:
        claims: of the token, whose signature was verified.
        key_claims: the name of a claim, by channel: its value is a key that may be read there. A
            claim of `Rights.named` has these keys already, as far as they are granted.

    Returns:
        The rights. Channels that this hub does not have are kept: other hubs may have them.

    Raises:
        RefusedTokenError: a claim has the wrong type.
    """
    claim = claims.get(CLAIM, {})
    if not isinstance(claim, dict):
        raise RefusedTokenError(f"the claim {CLAIM} is no object")
    subscribe = _allowed(claim.get("subscribe", []))
    for channel, name in (key_claims or {}).items():
        if name in claims and not claim.get(_COMPLETE):
            _add(subscribe, channel, _key(name, claims[name]))
    return Rights(subscribe, _allowed(claim.get("publish", [])))


def rights_of_ticket(claims: Mapping[str, Any]) -> Rights | None:
    """Return all that a ticket gives its bearer; None if the claims are of no ticket.

    Raises:
        RefusedTokenError: a claim has the wrong type.
    """
    claim = claims.get(CLAIM)
    return rights(claims) if isinstance(claim, dict) and claim.get(_COMPLETE) else None


def _key(name: str, value: Any) -> str:
    if not isinstance(value, str) or value in ("", _EVERY):  # a subject `*` is no right to all keys
        raise RefusedTokenError(f"the claim {name[:64]} can't be a key")
    return value


def _allowed(texts: Any) -> dict[str, Keys]:
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise RefusedTokenError(f"subscribe and publish in the claim {CLAIM} are lists of texts")
    found: dict[str, Keys] = {}
    for text in texts:
        channel, colon, key = text.partition(":")
        if colon and not key:
            raise RefusedTokenError(f"a right of the claim {CLAIM} has a colon, and no key")
        _add(found, channel, ALL if not colon or key == _EVERY else key)
    return found


def _add(found: dict[str, Keys], channel: str, key: str | AllKeys) -> None:
    before = found.get(channel, frozenset())
    if isinstance(key, AllKeys) or isinstance(before, AllKeys):
        found[channel] = ALL
    else:
        found[channel] = before | {_possible(key)}


def _possible(key: str) -> str:
    """Return a key. Raises a `RefusedTokenError` if no event can have it."""
    try:
        if len(key.encode()) <= MAX_KEY_BYTES:
            return key
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can name
        pass
    raise RefusedTokenError(f"a key is UTF-8 of {MAX_KEY_BYTES} bytes at most")


def _texts(allowed: Mapping[str, Keys]) -> list[str]:
    found: list[str] = []
    for channel, keys in allowed.items():
        some: Iterable[str] = [_EVERY] if isinstance(keys, AllKeys) else sorted(keys)
        found += [f"{channel}:{key}" for key in some]
    return found
