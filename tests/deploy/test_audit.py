"""The audit fails for a vulnerability alone, and says so where it has no data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import audit

LOCK = "good==1.0 \\\n    --hash=sha256:00\n    # via me\nbad==2.0 \\\n    --hash=sha256:00\n"
GOOD: dict[str, Any] = {"name": "good", "version": "1.0", "vulns": []}
BAD: dict[str, Any] = {
    "name": "bad",
    "version": "2.0",
    "vulns": [{"id": "CVE-1", "fix_versions": ["2.1"]}, {"id": "CVE-2", "fix_versions": []}],
}

pytestmark = pytest.mark.server


def run(tmp_path: Path, code: str, *packages: dict[str, Any]) -> int:
    """Audit a lock file with a tool that reports about those of these packages that it is given."""
    lock, tool = tmp_path / "requirements.lock", tmp_path / "tool.py"
    lock.write_text(LOCK)
    tool.write_text(
        "import json, sys, time\n"
        "given = dict(zip(sys.argv, sys.argv[1:]))\n"
        "text = open(given['--requirement']).read()\n"
        f"packages = [one for one in {list(packages)!r} if one['name'] + '==' in text]\n"
        "report = json.dumps({'dependencies': packages, 'fixes': []})\n"
        f"{code}\n"
    )
    return audit.main([lock], [], (sys.executable, str(tool)))


WRITE = "open(given['--output'], 'w').write(report)"


def test_a_vulnerability_is_named_with_its_fix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, f"{WRITE}; sys.exit(1)", GOOD, BAD) == 1
    assert capsys.readouterr().out == (
        "requirements.lock: 2 packages, 2 vulnerabilities\n"
        "  bad 2.0: CVE-1, fixed in 2.1\n"
        "  bad 2.0: CVE-2, fixed in no version\n"
    )


def test_without_a_vulnerability_it_succeeds_and_names_what_has_no_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, WRITE, GOOD, {"name": "bad", "skip_reason": "not found"}) == 0
    assert capsys.readouterr().out == (
        "requirements.lock: 1 packages, 0 vulnerabilities\n  without data: bad\n"
    )


@pytest.mark.parametrize(
    "code", ["sys.exit(1)", f"{WRITE[:-1]}[:20]); sys.exit(1)", "time.sleep(600)", WRITE]
)
def test_without_data_it_is_left_out_and_no_error(
    code: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No report, half of one, no answer, and a mirror that knows nothing of vulnerabilities."""
    if "sleep" in code:
        monkeypatch.setattr(audit, "PROBE_S", 0.2)
    names = ("good", "bad")
    unknown = [{"name": name, "skip_reason": "not found"} for name in names]
    assert run(tmp_path, code, *unknown) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("THE AUDIT WAS LEFT OUT: ")


def test_ci_audits_all_lock_files() -> None:
    assert "step audit make audit\n" in (audit.ROOT / ".ci/run").read_text("utf-8")
    assert "-m tests.deploy.audit" in (audit.ROOT / "Makefile").read_text("utf-8")
