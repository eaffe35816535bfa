"""Remembers which tokens were revoked. Pure.

A revocation names a subject or the id of a token. It concerns all tokens of that name that were
issued before it, so a later login is good again. A token that does not say when it was issued may
be older than any revocation.
"""

from __future__ import annotations


class Revocations:
    """The revocations that are known."""

    def __init__(self) -> None:
        self._at_ms: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._at_ms)

    def add(self, name: str, at_ms: int) -> bool:
        """Remember a revocation. Return False if it is known already.

        Args:
            name: a subject or the id of a token.
            at_ms: its time, in milliseconds since 1970.
        """
        if at_ms <= self._at_ms.get(name, 0):
            return False
        self._at_ms[name] = at_ms
        return True

    def forget(self, before_ms: int) -> None:
        """Drop the revocations before a time. All tokens that they concern must have expired."""
        old = [name for name, at_ms in self._at_ms.items() if at_ms < before_ms]
        for name in old:
            del self._at_ms[name]

    def concerns(self, subject: str, token_id: str, issued_s: float | None) -> bool:
        """Return True if a token was revoked.

        `iat` has whole seconds. A token of the second in which it was revoked counts as older.

        Args:
            subject: of the token; empty if it has none.
            token_id: its own id; empty if it has none.
            issued_s: when it was issued, in seconds since 1970; None if that is not known.
        """
        for name in (subject, token_id):
            at_ms = self._at_ms.get(name) if name else None
            if at_ms is not None and (issued_s is None or issued_s * 1000 <= at_ms):
                return True
        return False
