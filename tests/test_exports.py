"""`import broadcaster` offers the public names, and no others.

A test of the documents compares the API reference with these names.
"""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

import broadcaster
from broadcaster import errors, logs

PACKAGE = Path(broadcaster.__file__).parent


@pytest.mark.parametrize("name", broadcaster.__all__)
def test_each_name_can_be_imported(name: str) -> None:
    assert getattr(broadcaster, name) is not None


@pytest.mark.parametrize("module", [broadcaster, logs])
def test_the_names_are_sorted(module: ModuleType) -> None:
    assert list(module.__all__) == sorted(module.__all__)


def test_public_errors_are_those_of_the_errors_module() -> None:
    offered = [getattr(broadcaster, name) for name in broadcaster.__all__]
    public = {x for x in offered if inspect.isclass(x) and issubclass(x, BaseException)}
    here = {x for x in vars(errors).values() if inspect.isclass(x)}
    assert public == {x for x in here if issubclass(x, BaseException)}
    assert all(issubclass(error, errors.BroadcasterError) for error in public)


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("from broadcaster import Publisher, RunQueue", ("uvicorn", "starlette")),
        (
            "from broadcaster import EventSource, BroadcasterError",
            ("uvicorn", "starlette", "redis"),
        ),
        ("import broadcaster.commands.main", ("uvicorn", "starlette", "redis")),
    ],
)
def test_unneeded_modules_are_not_loaded(code: str, unwanted: tuple[str, ...]) -> None:
    """Loading a web server takes longer than all else that a small program does."""
    shown = f"import sys; {code}; print(*[n for n in {unwanted} if n in sys.modules])"
    run = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def classes(path: Path) -> list[str]:
    tree = ast.walk(ast.parse(path.read_text("utf-8")))
    return [node.name for node in tree if isinstance(node, ast.ClassDef) and node.name[0] != "_"]


def aliases(path: Path) -> list[str]:
    """Names of types that are no classes: `Answer: TypeAlias = …`."""
    assigned = (node for node in ast.parse(path.read_text("utf-8")).body
                if isinstance(node, ast.AnnAssign))  # fmt: skip
    return [
        ast.unparse(node.target)
        for node in assigned
        if ast.unparse(node.annotation) == "TypeAlias" and ast.unparse(node.target)[0] != "_"
    ]


def test_no_two_types_have_the_same_name() -> None:
    counted = Counter(
        name for path in PACKAGE.rglob("*.py") for name in (*classes(path), *aliases(path))
    )
    assert counted["Answer"] == counted["Answers"] == 1  # an alias and a class
    assert [name for name, count in counted.items() if count > 1] == []
