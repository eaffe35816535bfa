"""The list of mutants fits the product as it is, and only a test that fails counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants import Mutant
from tests.mutants.__main__ import MUTANTS, Copy, judge, row

ROOT = Path(__file__).parents[2]
FILE = "broadcaster/core/event.py"
TESTS = ("tests/core/test_event.py",)


def test_each_mutant_has_its_place_and_its_tests() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    for mutant in MUTANTS:
        text = (ROOT / mutant.file).read_text("utf-8")
        assert text.count(mutant.before) == 1, mutant.name
        changed = text.replace(mutant.before, mutant.after)
        assert changed != text, mutant.name
        if mutant.file.endswith(".py"):  # a balancer's configuration may be broken, too
            compile(changed, mutant.file, "exec")
        for test in mutant.tests:
            file, _, name = test.partition("::")
            named = f"def {name.partition('[')[0]}(" if name else "def test_"
            assert named in (ROOT / file).read_text("utf-8"), test


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="git tells which files to copy")
def test_only_a_test_that_fails_counts(tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    assert copy.imported() == tmp_path / "broadcaster" / "__init__.py"
    killed = judge(copy, Mutant("m", FILE, "self.seq + 1", "self.seq + 2", TESTS))
    assert killed.killed
    assert killed.failed.startswith(TESTS[0] + "::test_")
    for before, after, told in (
        ("1 << 64", "2 ** 64", "it survives"),
        ("class EventId", "klass EventId", "can't be told"),  # no test has run
        ("no such text", "", "its text is 0 times in"),
        ("return", "yield", "times in"),
    ):
        run = judge(copy, Mutant("m", FILE, before, after, TESTS))
        assert not run.killed
        assert told in row(Mutant("m", FILE, before, after, TESTS), run)[1]
    assert (tmp_path / FILE).read_bytes() == (ROOT / FILE).read_bytes()
