"""The npm package: what nodes serve is what its sources make, and its own tests pass."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.clients import package


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package that can be built."""
    return package.copied(tmp_path)


def test_nodes_serve_what_the_sources_make(copy: Path) -> None:
    package.run(copy, "build.mjs", "out")
    for name in package.NAMES:
        served = (package.BUILT / name).read_bytes()
        assert (copy / "out" / name).read_bytes() == served, f"{name}: run `make client`"


def test_it_has_types_without_an_error(copy: Path) -> None:
    package.run(copy, "build.mjs")
    exports = json.loads((copy / "package.json").read_text("utf-8"))["exports"]
    for files in exports.values():
        for file in files.values():
            assert (copy / file).stat().st_size > 100


def test_the_lock_file_names_no_host() -> None:
    packages = json.loads((package.HERE / "package-lock.json").read_text("utf-8"))["packages"]
    assert len(packages) > 10
    assert not [name for name, one in packages.items() if "resolved" in one]
    assert all("integrity" in one for name, one in packages.items() if name)


def test_it_depends_on_nothing() -> None:
    found = json.loads((package.HERE / "package.json").read_text("utf-8"))
    assert not found.keys() & {"dependencies", "optionalDependencies"}
    imported = re.findall(r'from ?"([^"]+)"', (package.BUILT / "react.js").read_text("utf-8"))
    assert sorted(imported) == ["./client.js", "react"]
    assert "import" not in (package.BUILT / "client.js").read_text("utf-8").replace(
        "import.meta", ""
    )
