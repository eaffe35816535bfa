"""`make audit` looks for known vulnerabilities of the packages in the lock files, with pip-audit.

pip-audit asks a service on the internet. Where that does not answer, or knows none of the packages,
the audit is left out with one line and without an error, because the change is not at fault.
pip-audit itself calls it a success if an index has no data, as mirrors of packages have none.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
TOOL = (sys.executable, "-m", "pip_audit")
# The first question shows whether there are any data. It has one package.
PROBE_S, AUDIT_S, _SOCKET_S = 20.0, 300.0, 5
_PIN = re.compile(r"^[\w.-]+==.*?(?=^[\w.-]+==|\Z)", re.MULTILINE | re.DOTALL)


class Report(NamedTuple):
    """What is known about the packages of a lock file.

    Attributes:
        known: the packages about which there are data.
        unknown: those about which there are none.
        vulnerable: a line for each vulnerability.
    """

    known: list[str]
    unknown: list[str]
    vulnerable: list[str]


def main(locks: Iterable[Path], arguments: Sequence[str], tool: Sequence[str] = TOOL) -> int:
    """Audit lock files.

    Args:
        locks: the files.
        arguments: more of them for pip-audit.
        tool: runs pip-audit.

    Returns:
        The status: 1 if a package is known to be vulnerable, and 0 otherwise.
    """
    status = 0
    for lock in locks:
        found = _probed(lock, arguments, tool)
        if found is None or not found.known:
            sys.stderr.write("THE AUDIT WAS LEFT OUT: no data about packages can be reached\n")
            return status
        figures = f"{len(found.known)} packages, {len(found.vulnerable)} vulnerabilities"
        lines = [f"{lock.name}: {figures}", *(f"  {line}" for line in found.vulnerable)]
        if found.unknown:
            lines.append(f"  without data: {', '.join(found.unknown)}")
        sys.stdout.write("\n".join([*lines, ""]))
        status = status or int(bool(found.vulnerable))
    return status


def _probed(lock: Path, arguments: Sequence[str], tool: Sequence[str]) -> Report | None:
    """Return what is known about a lock file; None or a report without data if nothing is."""
    with TemporaryDirectory() as directory:
        one = Path(directory) / "one.lock"
        one.write_text(_PIN.findall(lock.read_text("utf-8"))[0], "utf-8")
        found = _report(one, PROBE_S, arguments, tool)
        if found and found.known:
            found = _report(lock, AUDIT_S, arguments, tool)
        return found


def _report(
    lock: Path, timeout_s: float, arguments: Sequence[str], tool: Sequence[str]
) -> Report | None:
    with TemporaryDirectory() as directory:
        output = Path(directory) / "report.json"
        options = [
            "--disable-pip",
            "--progress-spinner",
            "off",
            "--desc",
            "off",
            "--format",
            "json",
        ]
        options += [
            "--timeout",
            str(_SOCKET_S),
            "--output",
            str(output),
            "--requirement",
            str(lock),
        ]
        try:
            subprocess.run(
                [*tool, *options, *arguments], timeout=timeout_s, capture_output=True, check=False
            )
            said = json.loads(output.read_text("utf-8"))
        except (subprocess.TimeoutExpired, OSError, ValueError):  # it writes no report, or a part
            return None
    return _read(said["dependencies"])


def _read(packages: Iterable[dict[str, Any]]) -> Report:
    report = Report([], [], [])
    for package in packages:
        known = "skip_reason" not in package
        (report.known if known else report.unknown).append(package["name"])
        for found in package.get("vulns", ()):
            fixed = ", ".join(found["fix_versions"]) or "no version"
            name = f"{package['name']} {package['version']}"
            report.vulnerable.append(f"{name}: {found['id']}, fixed in {fixed}")
    return report


if __name__ == "__main__":
    sys.exit(main(sorted(ROOT.glob("requirements*.lock")), sys.argv[1:]))
