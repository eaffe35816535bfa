"""What the tests must notice: small mistakes that somebody could make, each in one place.

A mutant is a promise broken on purpose. Its tests are the ones that keep that promise: at least one
of them must fail. A mutant that survives shows a promise that nothing keeps.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mistake.

    Attributes:
        name: says what is broken.
        file: the one that is changed, from the root of the repository.
        before: text that is in it exactly once.
        after: what stands there instead.
        tests: those that must notice, as pytest names them; the quickest ones that do.
    """

    name: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]
