"""Modules and functions are short enough to be read at once."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODULE_LINES = 300
FUNCTION_LINES = 40  # without the docstring


def modules() -> list[Path]:
    return [path for name in ("broadcaster", "workers") for path in (ROOT / name).rglob("*.py")]


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Yield each function of a module, and its lines without the docstring."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            lines = node.end_lineno - node.lineno + 1
            first = node.body[0]
            if ast.get_docstring(node) is not None:
                assert first.end_lineno is not None
                lines -= first.end_lineno - first.lineno + 1
            yield node.name, lines


def test_no_module_is_longer_than_300_lines() -> None:
    assert len(modules()) > 100
    sizes = {path: len(path.read_text("utf-8").splitlines()) for path in modules()}
    assert {str(path): size for path, size in sizes.items() if size > MODULE_LINES} == {}


def test_no_function_is_longer_than_40_lines() -> None:
    found = {f"{path}: {name}": lines for path in modules() for name, lines in functions(path)}
    assert len(found) > 500
    assert {name: lines for name, lines in found.items() if lines > FUNCTION_LINES} == {}
