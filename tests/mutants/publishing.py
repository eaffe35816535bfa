"""Mutants of publishing over HTTP: its bounds, and the right to it."""

from __future__ import annotations

from tests.mutants import Mutant

_PERMIT = "broadcaster/web/permit.py"
_PERMITS = "tests/web/test_permit.py::"
_HTTP = "tests/web/test_publishing.py::"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "bounded: the body of a POST is counted as what nothing reads",
        "broadcaster/web/uvicorn/bounded.py",
        """len(self.answering) == 1:
            self._fed = 0
        super().on_body(body)""",
        """len(self.answering) == 1:
            pass
        super().on_body(body)""",
        (_HTTP + "test_a_large_body_comes_whole_however_it_is_sent",),
    ),
    Mutant(
        "permit: the policy sees cookies",
        _PERMIT,
        'if name != "cookie"}',
        "if name}",
        (_PERMITS + "test_the_policy_sees_no_cookie",),
    ),
    Mutant(
        "permit: some keys are enough for events without one",
        _PERMIT,
        "if not asked and keys:",
        "if False:",
        (_PERMITS + "test_keys_beyond_a_grant_are_refused",),
    ),
    Mutant(
        "permit: a key `*` is every key",
        _PERMIT,
        "self._covers_all = EVERY in (grant.keys or ())",
        "self._covers_all = EVERY in self._covered",
        (_PERMITS + "test_a_key_that_looks_like_every_key_is_one",),
    ),
    Mutant(
        "permit: a revoked token publishes",
        _PERMIT,
        "if self._node.revoking.concerns(holder):",
        "if False:",
        (_PERMITS + "test_a_grant_that_ends_or_is_revoked_ends_what_was_granted",),
    ),
    Mutant(
        "publishing: an event that nodes leave out is published",
        "broadcaster/web/publishing.py",
        "            check(event, most_bytes)\n",
        "",
        (_HTTP + "test_a_body_that_is_not_all_events_publishes_nothing",),
    ),
)
