"""Issues tickets, and reads them again. All nodes share the secrets that they are signed with."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from broadcaster.core.access import ticket
from broadcaster.core.access.claims import Claims
from broadcaster.core.access.policy import Caller
from broadcaster.core.access.rights import RefusedTokenError, Rights
from broadcaster.web.tokens.keys import KeySource
from broadcaster.web.tokens.signatures import Issuer, MissingKeyError, Signatures
from broadcaster.web.tokens.signed import Key, key_of_secret, sign


def keys_of_secret(secret: bytes) -> Sequence[Key]:
    """Return the key of tickets that belongs to a secret.

    It is derived, so that a token which is signed with the same secret is no ticket.

    Raises:
        ValueError: the secret is too short.
    """
    secret = secret.strip()
    key_of_secret(secret)  # raises if it is too short
    derived = blake2b(secret, digest_size=32, person=b"broadcaster.tckt").digest()
    return [key_of_secret(derived, blake2b(derived, digest_size=6).hexdigest())]


class Tickets:
    """Issues and reads tickets."""

    def __init__(self, sources: Sequence[KeySource], ttl_s: float = ticket.LONGEST_S) -> None:
        """Name the secrets.

        Args:
            sources: of keys. The first key signs, and all verify.
            ttl_s: seconds that a ticket lives.
        """
        self._sources = sources
        self._ttl_s = ttl_s
        self._signatures = Signatures([Issuer("", sources)])

    def issue(self, claims: Claims, rights: Rights, origin: str, now_s: float) -> ticket.Ticket:
        """Make a ticket.

        Args:
            claims: of the verified token that it stands for.
            rights: that it carries.
            origin: that asks for it; empty if it names none.
            now_s: seconds since 1970.

        Raises:
            MissingKeyError: no secret is known yet.
        """
        for source in self._sources:
            source.look()
            if source.keys:
                said = ticket.payload(claims, rights, origin, now_s, self._ttl_s)
                text = sign(said, source.keys[0], ticket.TYPE)
                return ticket.Ticket(text, said["exp"] - now_s)
        raise MissingKeyError(self._sources[0])

    def read(self, text: str, caller: Caller, now_s: float) -> Claims:
        """Return the claims of the token that a ticket stands for.

        Raises:
            RefusedTokenError: it is no ticket of ours, has expired, or is of another origin.
            MissingKeyError: its secret may be one that is not known yet.
        """
        found = self._signatures.verified(text)
        if found.type != ticket.TYPE:
            raise RefusedTokenError("this is no ticket")
        return ticket.claims_of(found.claims, caller, now_s)
