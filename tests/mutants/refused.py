"""Mutants that need no test: `make check` refuses them, since mypy finds an error there."""

from __future__ import annotations

import bisect
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mutmut.mutation.data import MutantLineSpans
from mutmut.utils.format_utils import get_mutant_name

# These come of what mutmut writes: several versions of a method in one class, and its own comments.
_OF_ALL_VERSIONS = {"no-redef", "unused-ignore", "ignore-without-code", "untyped-decorator"}
# These come of the `and False` and `or True` of some mutants, which is not how mistakes are made.
_OF_LITERALS = {"redundant-expr", "unreachable"}


def refused(paths: Iterable[Path]) -> Iterator[str]:
    """Yield the names of the mutants that mypy refuses. Takes some minutes.

    Args:
        paths: the files of the product, relative to here. Their mutants are in `mutants/`.
    """
    command = [sys.executable, "-m", "mypy", "--output=json", *map(str, paths)]
    # Its status is 1 in any case.
    done = subprocess.run(command, cwd="mutants", stdout=subprocess.PIPE, text=True, check=False)
    places: dict[str, list[tuple[int, int, str]]] = {}
    for line in done.stdout.splitlines():
        error = json.loads(line)
        path = error["file"]
        if path not in places:
            places[path] = sorted(_places(path))
        if _counts(error) and (function := _at(error["line"], places[path])):
            yield get_mutant_name(Path(path), function)


def _places(path: str) -> Iterator[tuple[int, int, str]]:
    if spans := MutantLineSpans.load(path):
        for name, span in spans.span_by_function_name.items():
            yield span.start, span.end, name


def _counts(error: dict[str, Any]) -> bool:
    return error["severity"] == "error" and error["code"] not in _OF_ALL_VERSIONS | _OF_LITERALS


def _at(line: int, places: list[tuple[int, int, str]]) -> str | None:
    """Return the mutant that a line is of, if it is of one, and not of the code without."""
    index = bisect.bisect(places, (line, sys.maxsize, "")) - 1
    if index < 0 or not places[index][0] <= line <= places[index][1]:
        return None
    name = places[index][2]
    return None if name.endswith("_orig") else name
