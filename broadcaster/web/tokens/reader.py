"""Reads the token or the ticket of a request, and issues tickets: the built-in `Verifier`."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from broadcaster.core.access.claims import Claims, Expected, checked, time_of
from broadcaster.core.access.policy import Caller, Denied, NotYet
from broadcaster.core.access.presented import Kind, Presented, bearer, presented
from broadcaster.core.access.rights import RefusedTokenError, rights
from broadcaster.core.access.ticket import Ticket, narrowed
from broadcaster.web.tokens.signatures import MissingKeyError, Signatures
from broadcaster.web.tokens.tickets import Tickets

_TYPES = frozenset({"", "jwt", "at+jwt"})

T = TypeVar("T")


@dataclass(frozen=True)
class TokenReader:
    """Reads tokens and tickets.

    Attributes:
        signatures: of tokens.
        expected: what the claims of tokens must be.
        tickets: issues and reads tickets; None refuses them.
        cookie: the name of the cookie that may have a token; empty if none may.
        origins: the origins whose pages may send that cookie. The hub's own always may.
        key_claims: as in `core.access.rights.rights`.
        is_revoked: says whether a token was revoked, by its subject, its id, and the time at which
            it was issued, in seconds since 1970.
        now_s: returns seconds since 1970.
    """

    signatures: Signatures
    expected: Expected
    tickets: Tickets | None = None
    cookie: str = ""
    origins: Collection[str] = ()
    key_claims: Mapping[str, str] = field(default_factory=dict)
    is_revoked: Callable[[str, str, float | None], bool] = lambda *_: False
    now_s: Callable[[], float] = time.time

    def __call__(self, caller: Caller, /) -> Claims | Denied | NotYet:
        """Return the claims of a caller's token; empty if it has none; see `Verifier`."""
        found = presented(caller, self.cookie, self.origins)
        if found is None:
            return {}
        if isinstance(found, Denied):
            return found
        return _tried(lambda: self._read(found, caller))

    def issue(
        self, caller: Caller, channels: Collection[str], keys: Collection[str]
    ) -> Ticket | Denied | NotYet:
        """Return a ticket for the token in a caller's header `Authorization`.

        A ticket or a cookie is not enough: a ticket could renew itself for ever, and any page could
        ask with a cookie.
        """
        text = bearer(caller)
        if not text:
            return Denied("a ticket is issued for a token in the header Authorization", 401)
        return _tried(lambda: self._issue(text, caller, channels, keys))

    def _read(self, found: Presented, caller: Caller) -> Claims:
        if found.kind is Kind.TOKEN:
            return self._claims(found.text)
        if self.tickets is None:
            raise RefusedTokenError("this hub has no tickets")
        return self._not_revoked(self.tickets.read(found.text, caller, self.now_s()))

    def _claims(self, text: str) -> Claims:
        found = self.signatures.verified(text)
        if found.type not in _TYPES:
            raise RefusedTokenError("a token of this type gives no access")
        return self._not_revoked(checked(found.claims, self.expected, self.now_s()))

    def _not_revoked(self, claims: Claims) -> Claims:
        if self.is_revoked(claims.get("sub", ""), claims.get("jti", ""), time_of(claims, "iat")):
            raise RefusedTokenError("the token was revoked")
        return claims

    def _issue(
        self, text: str, caller: Caller, channels: Collection[str], keys: Collection[str]
    ) -> Ticket | Denied:
        claims = self._claims(text)
        if self.tickets is None:
            return Denied("this hub has no tickets: its nodes share no secret")
        found = narrowed(rights(claims, self.key_claims), channels, keys)
        if isinstance(found, Denied):
            return found
        return self.tickets.issue(claims, found, caller.headers.get("origin", ""), self.now_s())


def _tried(read: Callable[[], T]) -> T | Denied | NotYet:
    """Return what `read` returns; `Denied` or `NotYet` if it raises an error about a token."""
    try:
        return read()
    except RefusedTokenError as error:
        return Denied(str(error), 401)
    except MissingKeyError as error:
        return NotYet(error.source.find)
