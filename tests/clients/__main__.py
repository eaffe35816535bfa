"""Tries the foreign clients, and tools that read the documents, and writes what was found.

python -m tests.clients [--quick] [--write]

`--quick` tries npm, Python and Go, with two scenarios each, which is what CI has the time for, and
the tools. All of it has the chat of examples/ in each browser as well.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest

from tests.clients.roster import ROSTER
from tests.clients.scenarios import SCENARIOS

PAGE = Path(__file__).parents[2] / "docs" / "results" / "clients.md"
QUICK = "(js or python or go) and (kill or finished) or documents"
QUIRKS = ("a clean end", "status 204", "an event of 1 MB, as it comes")
_MARK = "<!-- measured -->"


class Found:
    """Collects what the tests found, also from pytest's other processes.

    Attributes:
        results: by the names of the client and the scenario.
    """

    def __init__(self) -> None:
        self.results: dict[tuple[str, str], str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Pytest calls this after each phase of a test."""
        for name, value in report.user_properties:
            if name == "foreign" and report.when == "call":
                assert isinstance(value, list)
                client, scenario, found = value
                self.results[client, scenario] = found

    def table(self, columns: tuple[str, ...]) -> str:
        """A row for each client, with these scenarios."""
        lines = [("client", *columns), ("---",) * (len(columns) + 1)]
        lines += [(c.name, *(self._cell(c.name, name) for name in columns)) for c in ROSTER]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)

    def _cell(self, client: str, scenario: str) -> str:
        return self.results.get((client, scenario), "not tried")


def written(page: str, found: Found) -> str:
    """The page with these results, below its mark."""
    head, _, _ = page.partition(_MARK)
    day = datetime.now(UTC).date().isoformat()
    parts = [
        _MARK,
        f"Run of {day}.",
        "## Our recipes",
        found.table(tuple(SCENARIOS)),
        "## As their own documentation shows them",
        found.table(QUIRKS),
    ]
    return head + "\n\n".join(parts) + "\n"


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help="npm, Python and Go, with two scenarios each")
@click.option("--write", is_flag=True, help="write docs/results/clients.md")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def main(quick: bool, write: bool, arguments: tuple[str, ...]) -> None:
    """Run the tests, and print what was found."""
    found = Found()
    chosen = ["-k", QUICK] if quick else []
    tests = [str(Path(__file__).with_name(f"test_{name}.py")) for name in ("foreign", "documents")]
    tests.append(str(Path(__file__).parents[1] / "examples"))
    # The clients' table has imported modules whose assertions pytest would like to rewrite.
    quiet = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    options = ["-n", "2", "-q", "-rs", *quiet, *tests, *chosen, *arguments]
    status = pytest.main(options, plugins=[found])
    if write:
        PAGE.write_text(written(PAGE.read_text("utf-8"), found), "utf-8")
    sys.exit(status)


if __name__ == "__main__":
    main()
