"""Finds the name that was probably meant by a misspelt one. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Set
from functools import lru_cache

_MAX_CHARS = 32
_LEAST_CHARS = 4  # shorter names have neighbours that are words of their own
_SEPARATORS = re.compile(r"[-_. ]")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like a name; None if none is like it."""
    plain = {_plain(one): one for one in known}
    found = difflib.get_close_matches(_plain(name[:_MAX_CHARS]), plain, 1)
    return plain[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question with the nearest name; empty if none is like it."""
    found = nearest(name, known)
    return f"did you mean {found}?" if found else ""


def slip(name: str, known: Set[str]) -> str | None:
    """Return the known name that was surely meant by a misspelt one; None if there is none.

    Stricter than `nearest`, because it leads to a refusal. A slip is another case, other
    separators, a plural, two letters in the wrong order, or one letter too many, too few or wrong
    after the first one.
    """
    return _slip(name, frozenset(known)) if len(name) <= _MAX_CHARS else None


@lru_cache(maxsize=1024)  # it remembers short names only, as any client may send any name
def _slip(name: str, known: frozenset[str]) -> str | None:
    plain = _plain(name)
    for one in sorted(known, key=lambda one: (one.casefold() != name.casefold(), one)):
        meant = _plain(one)
        for each in (plain, plain.removesuffix("s")):
            if each in (meant, meant.removesuffix("s")) or _is_slip(each, meant):
                return one
    return None


def _plain(name: str) -> str:
    return _SEPARATORS.sub("", name).casefold()


def _is_slip(name: str, meant: str) -> bool:
    """Return True if one letter differs, or if two neighbours are in the wrong order."""
    start = 0
    while start < min(len(name), len(meant)) and name[start] == meant[start]:
        start += 1
    end = 0
    while end < min(len(name), len(meant)) - start and name[-1 - end] == meant[-1 - end]:
        end += 1
    rest, missing = name[start : len(name) - end], meant[start : len(meant) - end]
    if len(rest) == len(missing) == 2 and len(meant) >= _LEAST_CHARS - 1:
        return rest == missing[::-1]
    return start > 0 and len(meant) >= _LEAST_CHARS and max(len(rest), len(missing)) == 1
