"""Verifies signatures with the keys of issuers, and remembers the last ones that were good."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import NamedTuple

from broadcaster.core.access.rights import RefusedTokenError
from broadcaster.web.tokens.keys import KeySource
from broadcaster.web.tokens.signed import MOST_TRIED, Key, Unverified, is_signed_with, read

REMEMBERED = 4096
"""The most tokens that are remembered, about 2 KB each."""


class MissingKeyError(Exception):
    """The key of a token is not known. `source` may have it, if it is asked again."""

    def __init__(self, source: KeySource) -> None:
        super().__init__("the key of the token is not known")
        self.source = source


class Issuer(NamedTuple):
    """An issuer of tokens.

    Attributes:
        name: that its tokens have as `iss`; empty if they have none.
        sources: of its keys, and of no others.
    """

    name: str
    sources: Sequence[KeySource]


class Signatures:
    """Verifies signatures. A key counts for its issuer, its key id and its algorithms alone.

    Good tokens are remembered by their hash. When a key changes, all of them are forgotten.
    """

    def __init__(self, issuers: Sequence[Issuer]) -> None:
        self._issuers = issuers
        self._sources = [source for issuer in issuers for source in issuer.sources]
        self._versions: list[int] = []
        self._good: dict[bytes, Unverified] = {}

    def verified(self, text: str) -> Unverified:
        """Return what a token says whose signature is good. Its claims are still to be checked.

        Raises:
            RefusedTokenError: no key of the issuer that it names has signed it.
            MissingKeyError: its key may be one that is not known yet.
        """
        for source in self._sources:
            source.look()
        versions = [source.version for source in self._sources]
        if versions != self._versions:
            self._versions = versions
            self._good.clear()
        name = blake2b(text.encode("utf-8", "replace"), digest_size=32).digest()
        found = self._good.get(name)
        if found is None:
            found = self._verified(read(text))._replace(text="", signature=b"")
            if len(self._good) >= REMEMBERED:
                del self._good[next(iter(self._good))]
            self._good[name] = found
        return found

    def _verified(self, token: Unverified) -> Unverified:
        missing: list[KeySource] = []
        reason = "no key that is known here has signed this"
        for source in self._sources_of(token):
            keys = [key for key in source.keys if _fits(key, token)]
            if any(is_signed_with(token, key) for key in keys[:MOST_TRIED]):
                return token
            if len(keys) > MOST_TRIED:
                reason = f"none of the {MOST_TRIED} keys that were tried has signed this: set kid"
            if not keys and source.may_have(token.algorithm):
                missing.append(source)
        if missing:
            raise MissingKeyError(missing[0])
        raise RefusedTokenError(reason)

    def _sources_of(self, token: Unverified) -> Iterator[KeySource]:
        for issuer in self._issuers:
            if issuer.name == token.claims.get("iss", ""):
                yield from issuer.sources


def _fits(key: Key, token: Unverified) -> bool:
    named = token.key_id is None or key.id is None or token.key_id == key.id
    return named and token.algorithm in key.algorithms
