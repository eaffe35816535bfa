"""Remembers in a file which mutants were noticed, so that a run goes on where the last one ended.

A line holds for one mutant, the text of its file, and the texts of its tests. If one of them has
changed, or if no test noticed the mutant, it is played again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from tests.mutants import Mutant
from tests.mutants.copies import ROOT, Run


class Noticed:
    """The mutants that a test has noticed."""

    def __init__(self, path: Path, mutants: Iterable[Mutant], root: Path = ROOT) -> None:
        """Read the file, if it is there, and the texts as they are now.

        Args:
            path: of the file.
            mutants: all that may be asked about.
            root: the folder of the files that mutants and their tests are in.
        """
        self._path = path
        self._keys = {mutant: _key(mutant, root) for mutant in mutants}
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        self._noticed = {json.loads(line)["key"] for line in lines}

    def __contains__(self, mutant: Mutant) -> bool:
        return self._keys[mutant] in self._noticed

    def add(self, mutant: Mutant, run: Run) -> None:
        """Note that a mutant was noticed."""
        noted = {"name": mutant.name, "killed by": run.failed[0], "s": round(run.seconds, 1)}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**noted, "key": self._keys[mutant]}) + "\n")
        self._noticed.add(self._keys[mutant])


def _key(mutant: Mutant, root: Path) -> str:
    files = [mutant.file, *(test.partition("::")[0] for test in mutant.tests)]
    texts = [(root / file).read_text("utf-8") for file in files]
    return hashlib.sha256(repr((mutant, texts)).encode()).hexdigest()
