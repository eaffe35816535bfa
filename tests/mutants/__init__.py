"""Small mistakes that the tests must notice. Each is in one place.

A mutant breaks a promise on purpose. It names the tests that guard this promise, and at least one
of them must fail. A mutant that survives shows a promise that no test guards.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mistake.

    Attributes:
        name: the module, and the behaviour with the mistake in it.
        file: the file that is changed, from the root of the repository.
        before: a text that is in the file exactly once.
        after: the text that replaces it.
        tests: the quickest tests that must notice, as pytest names them.
    """

    name: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]
