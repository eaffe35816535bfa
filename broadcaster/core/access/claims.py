"""Checks the claims of a token whose signature was verified: times and audience. Pure.

The names of the claims are those of RFC 7519, section 4.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broadcaster.core.access.rights import RefusedTokenError

Claims = Mapping[str, Any]
_LAST_S = 1e12


@dataclass(frozen=True, slots=True)
class Expected:
    """The values that the claims of a token must have.

    Attributes:
        audience: one of the token's audiences; empty if a token must have none.
        leeway_s: by how many seconds the clocks of issuer and node may differ.
        longest_s: the longest life of a token.
    """

    audience: str = ""
    leeway_s: float = 0.0
    longest_s: float = float("inf")


def checked(claims: Claims, expected: Expected, now_s: float) -> Claims:
    """Check the registered claims of a token.

    Args:
        claims: of the token. A key of its issuer has signed it, so `iss` needs no look here.
        expected: what the claims must be.
        now_s: seconds since 1970.

    Returns:
        The claims. Their `exp` has the leeway added: it is the time from which on this node
        refuses the token, so an event stream that ends then does not come back with it.

    Raises:
        RefusedTokenError: a claim is missing, has the wrong type or the wrong value.
    """
    _check_audience(claims, expected.audience)
    for name in ("sub", "jti"):
        if not isinstance(claims.get(name, ""), str):
            raise RefusedTokenError(f"the claim {name} is no text")
    expires_s, issued_s = time_of(claims, "exp"), time_of(claims, "iat")
    begins_s, leeway_s = time_of(claims, "nbf"), expected.leeway_s
    if expires_s is None:
        raise RefusedTokenError("the token has no exp, so it would be good for ever")
    if now_s >= expires_s + leeway_s:
        raise RefusedTokenError("the token has expired")
    if max(begins_s or 0.0, issued_s or 0.0) > now_s + leeway_s:
        raise RefusedTokenError("the token is not valid yet")
    # A token without `iat` may be older, but it lives no longer from now on.
    if expires_s - (now_s if issued_s is None else issued_s) > expected.longest_s + leeway_s:
        raise RefusedTokenError("the token lives longer than max_token_s allows")
    return {**claims, "exp": expires_s + leeway_s}


def time_of(claims: Claims, name: str) -> float | None:
    """Return a claim that is a time, in seconds since 1970; None if the token does not have it.

    Raises:
        RefusedTokenError: it is no number, or lies too far away to be a time.
    """
    value = claims.get(name)
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not -_LAST_S < value < _LAST_S:  # NaN is not between them, either
        raise RefusedTokenError(f"the claim {name} is no time")
    return float(value)


def _check_audience(claims: Claims, audience: str) -> None:
    """Compare the audience.

    "If the principal processing the claim does not identify itself with a value in the "aud" claim
    when this claim is present, then the JWT MUST be rejected."
    https://www.rfc-editor.org/rfc/rfc7519#section-4.1.3
    """
    found = claims.get("aud", [])
    audiences = [found] if isinstance(found, str) else found
    if not isinstance(audiences, list):
        raise RefusedTokenError("the claim aud is neither a text nor a list")
    if audience not in (audiences or [""]):
        raise RefusedTokenError("the token is for another audience")
