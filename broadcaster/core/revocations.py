"""Remembers which tokens were revoked. Pure.

A revocation names a subject or the id of a token. It concerns all tokens of that name that were
issued before it, so a later login is good again. A token that does not say when it was issued may
be older than any revocation.
"""

from __future__ import annotations

from typing import NamedTuple


class Bearer(NamedTuple):
    """What revocations need to know about a token, or about the holder of a stream.

    Attributes:
        subject: the user or service; empty if there is none.
        token_id: the id of the token; empty if it has none.
        issued_s: when the token was issued, in seconds since 1970; None if that is not known.
    """

    subject: str = ""
    token_id: str = ""
    issued_s: float | None = None


class Revocations:
    """The revocations that are known."""

    def __init__(self) -> None:
        self._at_ms: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._at_ms)

    def add(self, name: str, at_ms: int) -> None:
        """Remember a revocation. One that is known already changes nothing.

        Args:
            name: a subject or the id of a token.
            at_ms: its time, in milliseconds since 1970.
        """
        self._at_ms[name] = max(at_ms, self._at_ms.get(name, 0))

    def forget(self, before_ms: int) -> None:
        """Drop the revocations before a time. All tokens that they concern must have expired."""
        old = [name for name, at_ms in self._at_ms.items() if at_ms < before_ms]
        for name in old:
            del self._at_ms[name]

    def concerns(self, bearer: Bearer) -> bool:
        """Return True if a token was revoked.

        `iat` has whole seconds. A token of the second in which it was revoked counts as older.
        """
        for name in (bearer.subject, bearer.token_id):
            at_ms = self._at_ms.get(name) if name else None
            if at_ms is not None and (bearer.issued_s is None or bearer.issued_s * 1000 <= at_ms):
                return True
        return False
