"""The claims of a ticket: the rights of a token for a short time and one origin. Pure.

An `EventSource` can't send a header, so its url carries a ticket. A ticket bounds when streams
open: it is good for reconnects until it expires. An open stream ends with the token that the ticket
was made of, not with the ticket.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from broadcaster.core.access.claims import Claims, time_of
from broadcaster.core.access.policy import Action, Caller, Denied
from broadcaster.core.access.presented import is_own
from broadcaster.core.access.rights import CLAIM, AllKeys, Keys, RefusedTokenError, Rights

TYPE = "broadcaster-ticket+jwt"
"""The type of a ticket. A token of this type is never taken for another one, nor the reverse."""
LONGEST_S = 900.0
"""The longest life of a ticket."""
_KEPT = ("sub", "jti", "iat")
_UNTIL, _ORIGIN = "until", "origin"


class Ticket(NamedTuple):
    """A ticket that was issued.

    Attributes:
        text: of it.
        lives_s: the seconds for which it opens event streams.
    """

    text: str
    lives_s: float


def payload(claims: Claims, rights: Rights, origin: str, now_s: float, ttl_s: float) -> Claims:
    """Return what a ticket says.

    Args:
        claims: of the verified token that it stands for.
        rights: that it carries.
        origin: that asks for it; empty if it names none.
        now_s: seconds since 1970.
        ttl_s: seconds that the ticket lives, unless the token ends before.
    """
    said: dict[str, Any] = {name: claims[name] for name in _KEPT if name in claims}
    until_s = claims["exp"]
    ends_s = min(now_s + ttl_s, until_s)
    return {**said, "exp": ends_s, _UNTIL: until_s, _ORIGIN: origin, CLAIM: rights.named()}


def claims_of(said: Claims, caller: Caller, now_s: float) -> Claims:
    """Return the claims that a ticket stands for, as its token would have them.

    Args:
        said: what a ticket of ours says; its signature was verified.
        caller: that sent it.
        now_s: seconds since 1970.

    Raises:
        RefusedTokenError: it has expired, or another origin has asked for it.
    """
    expires_s, until_s = time_of(said, "exp"), time_of(said, _UNTIL)
    if expires_s is None or until_s is None or now_s >= expires_s:
        raise RefusedTokenError("the ticket has expired")
    if not _is_of(said.get(_ORIGIN), caller):
        raise RefusedTokenError("another origin has asked for the ticket")
    kept = {name: said[name] for name in (*_KEPT, CLAIM) if name in said}
    return {**kept, "exp": until_s}


def _is_of(origin: Any, caller: Caller) -> bool:
    """Return True if the caller is of the origin that has asked for a ticket.

    Browsers name the origin in each POST, but not in a GET of the same origin.
    """
    sent = caller.headers.get("origin")
    if sent is not None or not origin:
        return bool((sent or "") == origin)
    return caller.headers.get("sec-fetch-site") in (None, "same-origin") and is_own(origin, caller)


def narrowed(rights: Rights, channels: Collection[str], keys: Collection[str]) -> Rights | Denied:
    """Return the rights that a ticket gets.

    Args:
        rights: of the token.
        channels: the only channels; none means all that may be read.
        keys: the only keys of these channels; none means all that may be read.

    Returns:
        The rights; `Denied` if something is asked for that the token does not allow.
    """
    found: dict[str, Keys] = {}
    for channel in channels or rights.subscribe:
        allowed = rights.keys(channel, Action.SUBSCRIBE)
        if allowed is None:
            return Denied(f"the token has no right to {channel[:64]!r}")
        beyond = set(keys) & {""} if isinstance(allowed, AllKeys) else set(keys) - allowed
        if beyond:
            return Denied(f"the token has no right to the key {min(beyond)[:64]!r}")
        found[channel] = frozenset(keys) or allowed
    if not found:
        return Denied("the token has no right to read anything")
    return Rights(found)
