"""What the workers of a run say, so that a text shows which attempt it is of. Pure.

Each token names the attempt that has begun the answer, and its own number; the first one names the
run as well. A worker that goes on with an answer says the next tokens of the attempt that began it.
So a text of two attempts, with a hole or of another run is noticed without any other knowledge.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_TOKEN = re.compile(r"(\d+)\.(\d+) ")


class Said(NamedTuple):
    """How far an answer has come.

    Attributes:
        attempt: the number of the attempt that has begun it.
        tokens: how many there are of it.
    """

    attempt: int
    tokens: int


def spoken(run: str, attempt: int, first: int, end: int) -> Iterator[str]:
    """Yield the tokens of an answer, from one number up to another."""
    for number in range(first, end):
        yield _first(run) * (not number) + f"{attempt}.{number} "


def whole(run: str, attempt: int, tokens: int) -> str:
    """Return the text of so many tokens."""
    return "".join(spoken(run, attempt, 0, tokens))


def said(run: str, text: str) -> Said | None:
    """Return what a text has of the answer of a run; None if it is not the beginning of one."""
    if not text:
        return Said(0, 0)
    found = _TOKEN.match(text.removeprefix(_first(run)))
    if found is None:
        return None
    attempt = int(found[1])
    tokens = text.count(" ")
    return Said(attempt, tokens) if whole(run, attempt, tokens) == text else None


def _first(run: str) -> str:
    return f"{run}:"
