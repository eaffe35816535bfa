"""Adds up the grants of a request: the keys of each channel, and the holder. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from broadcaster.core.access.policy import Denied, Grant
from broadcaster.core.access.rights import AllKeys, Keys

EVERY = "*"
"""Among the keys of a grant, it is every key. It never is a part of a pattern."""
_SHOWN_CHARS = 64


class Holder(NamedTuple):
    """The part of a request's grants that its open event stream keeps.

    Attributes:
        subject: the user or service; empty if no grant names one.
        expires_s: seconds since 1970 at which the first of the grants ends; None is never.
        token_id: the id of the token; empty if it has none.
        issued_s: seconds since 1970 at which the token was issued; None if it does not say. Without
            a token it is the time of the grants.
        token_subject: the token's, where the grants name another one. A revocation may name either.
    """

    subject: str = ""
    expires_s: float | None = None
    token_id: str = ""
    issued_s: float | None = None
    token_subject: str = ""


def narrowed(grant: Grant, keys: Keys) -> Grant:
    """Return a grant that covers nothing but some keys.

    Args:
        grant: of the policy.
        keys: those that a ticket is for. What the policy grants beyond them is left out.
    """
    if isinstance(keys, AllKeys):
        return grant
    every = grant.keys is None or EVERY in grant.keys
    return replace(grant, keys=keys if every else keys & frozenset(grant.keys or ()))


def covered(
    grant: Grant, channel: str, asked: frozenset[str], now_s: float
) -> frozenset[str] | Denied | None:
    """Return the only keys of a channel that a caller gets.

    Args:
        grant: of the policy.
        channel: its name.
        asked: the keys that the caller wants; none means all that the grant covers.
        now_s: seconds since 1970.

    Returns:
        The keys; none means every key. None if neither the caller nor the grant says anything about
        keys. `Denied` if a key lies beyond the grant, because events that never come would look
        like silence.
    """
    if grant.expires_s is not None and grant.expires_s <= now_s:
        return Denied("the grant has expired", 401)
    if grant.keys is None:
        return asked or None
    if EVERY in grant.keys:
        return asked
    keys = frozenset(grant.keys) - {""}  # events without a key reach whole-channel clients only
    if not keys:
        return Denied(f"no key of {channel!r} is granted")
    if beyond := asked - keys:
        return Denied(f"key {min(beyond)[:_SHOWN_CHARS]!r} of {channel!r} is not granted")
    return asked or keys


def holder_of(grants: Iterable[Grant], claims: Mapping[str, Any], now_s: float) -> Holder | None:
    """Return the holder of all grants of a request; None if they have no subject and no end.

    Args:
        grants: one for each channel.
        claims: of the caller's token. An event stream never outlives its token.
        now_s: seconds since 1970.

    Raises:
        ValueError: they name different subjects. A caller is one subject.
    """
    grants = tuple(grants)
    subjects = {grant.subject for grant in grants} - {""}
    if len(subjects) > 1:
        raise ValueError(f"the grants of one request name different subjects: {sorted(subjects)}")
    ends = [grant.expires_s for grant in grants] + [claims.get("exp")]
    expires_s = min((end for end in ends if end is not None), default=None)
    if not subjects and expires_s is None:
        return None
    issued_s = claims.get("iat") if claims else now_s
    of_token = claims.get("sub", "")
    subject = "".join(subjects) or of_token
    other = of_token if of_token != subject else ""
    return Holder(subject, expires_s, claims.get("jti", ""), issued_s, other)
