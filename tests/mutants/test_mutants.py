"""The list of mutants fits the product as it is, and only a test that fails counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.mutants import Mutant
from tests.mutants.__main__ import MUTANTS, row
from tests.mutants.copies import ROOT, Copy, Run, judge
from tests.mutants.noticed import Noticed

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
    with Copy(tmp_path) as copy:
        assert copy.imported() == tmp_path / "broadcaster" / "__init__.py"
        assert copy.test(TESTS).status == 0  # which leaves bytecode behind
        for after in ("self.seq + 2", "self.seq + 3"):  # as many bytes
            killed = judge(copy, Mutant("m", FILE, "self.seq + 1", after, TESTS))
            assert killed.killed
            assert killed.failed[0].startswith(TESTS[0] + "::test_")
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
        assert copy.test(TESTS).status == 0


def test_what_was_noticed_is_played_again_if_its_texts_change(tmp_path: Path) -> None:
    path = tmp_path / "mutants" / "named.jsonl"
    first = Mutant("m", "code.py", "a", "b", ("test.py::test_a",))
    second = replace(first, after="c")

    def noticed() -> Noticed:
        return Noticed(path, [first, second], tmp_path)

    for file in ("code.py", "test.py"):
        (tmp_path / file).write_text("a")
    noticed().add(first, Run(1, ["test.py::test_a"], "", 0.1))
    assert first in noticed()
    assert second not in noticed()
    noticed().add(second, Run(1, ["test.py::test_a"], "", 0.1))
    assert first in noticed()
    assert second in noticed()
    for file in ("code.py", "test.py"):
        (tmp_path / file).write_text("a, and more")
        assert first not in noticed()
        (tmp_path / file).write_text("a")
