"""Links and commands that the documents name exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.docs.terminal import PAGES, ROOT


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text("utf-8")):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        linked = (page.parent / path) if path else page
        assert linked.exists(), target
        assert not anchor or anchor in _anchors(linked), target


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


@pytest.mark.parametrize("name", PAGES)
def test_modules_that_a_page_names_exist(name: str) -> None:
    for path in re.findall(r"`([\w/-]+/[\w-]+\.py)", (ROOT / name).read_text("utf-8")):
        assert (ROOT / path).exists() or (ROOT / "broadcaster" / path).exists(), path


@pytest.mark.parametrize("name", [page for page in PAGES if "/design/" in page])
def test_members_that_a_design_note_names_exist(name: str) -> None:
    for class_, member in re.findall(r"`([A-Z]\w+)\.(\w+)", (ROOT / name).read_text("utf-8")):
        assert member in _members(class_), f"{class_}.{member}"


@cache
def _members(class_: str) -> set[str]:
    """The names of the methods and fields of the class with this name; no other class has it."""
    body = [node for of in _classes() if of.name == class_ for node in of.body]
    methods = {n.name for n in body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
    return methods | {ast.unparse(n.target) for n in body if isinstance(n, ast.AnnAssign)}


@cache
def _classes() -> list[ast.ClassDef]:
    parsed = (ast.parse(path.read_text("utf-8")) for path in (ROOT / "broadcaster").rglob("*.py"))
    return [node for tree in parsed for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]


@pytest.mark.parametrize("name", PAGES)
def test_tests_that_a_page_names_exist(name: str) -> None:
    for path, test in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / name).read_text("utf-8")):
        code = (ROOT / path).read_text("utf-8")
        assert re.search(rf"^(?:async )?def {test}\(", code, re.MULTILINE), f"{path}::{test}"


@pytest.mark.parametrize(
    ("name", "section"), [("docs/results/field.md", "# "), ("docs/security.md", "## Attacks")]
)
def test_each_fault_and_each_attack_names_a_test(name: str, section: str) -> None:
    _, _, text = (ROOT / name).read_text("utf-8").partition(section)
    rows = re.findall(r"^\| (?!what failed|attack)(.*) \|(.*) \|$", text, re.MULTILINE)
    assert len(rows) > 20
    assert not [what for what, tests in rows if "`tests/" not in tests]


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    mentioned = {
        name
        for page in PAGES
        for name in re.findall(r"`make ([\w-]+)", (ROOT / page).read_text("utf-8"))
    }
    assert mentioned <= targets


@pytest.mark.parametrize("name", [page for page in PAGES if "/results/" not in page])
def test_paragraphs_are_wrapped_at_100_columns(name: str) -> None:
    """Tables, blocks and the pages that runs write are as wide as their contents."""
    prose = re.sub(r"^```.*?^```", "", (ROOT / name).read_text("utf-8"), flags=re.DOTALL | re.M)
    wide = [line for line in prose.splitlines() if len(line) > 100 and not line.startswith("|")]
    assert not wide


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150
