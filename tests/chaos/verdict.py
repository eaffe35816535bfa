"""What failed in a run, in few lines. They come last, where the log of a CI run is cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.chaos.checker import Finding
from tests.chaos.history import text_of
from tests.chaos.playing import Result

MOST_LINES = 30
_MOST_OF_ONE = 8
_WIDEST = 240


def verdict(results: Sequence[Result]) -> list[str]:
    """Return at most `MOST_LINES` lines about the scenarios that failed.

    Each of them has its first line, even if there are too many for their reasons.
    """
    failed = [result for result in results if not result.right]
    if not failed:
        return [f"all of {len(results)} scenarios passed"]
    heads = [f"seed {r.seed}, scenario {r.scenario.number}: {r.scenario.title}" for r in failed]
    spare = MOST_LINES - 1 - len(heads)
    share = max(0, min(_MOST_OF_ONE, spare // len(heads)))
    lines = [f"FAILED: {len(failed)} of {len(results)} scenarios"]
    for head, result in zip(heads, failed, strict=True):
        reasons = [f"  {line}"[:_WIDEST] for line in _reasons(result)]
        if len(reasons) > share:
            more = len(reasons) - max(0, share - 1)
            reasons = [*reasons[: max(0, share - 1)], f"  and {more} more"][:share]
        lines += [head, *reasons]
    if len(lines) > MOST_LINES:
        lines[MOST_LINES - 1 :] = [f"and {len(lines) - MOST_LINES + 1} more"]
    return lines


def described(finding: Finding) -> str:
    """Return a finding as one line."""
    id_ = text_of(finding.id) if finding.id else ""
    return (
        f"{finding.fault.value}: client {finding.chain!r}, line {finding.place} of its log, "
        f"{finding.stream} {id_} {finding.text}"
    )


def _reasons(result: Result) -> Iterator[str]:
    """The error first, as what follows from it is less telling."""
    if result.error:
        yield f"error: {result.error.strip().splitlines()[-1]}"
    for shown in result.missed:
        yield f"NOT: {shown.what}: {shown.measured}"
    if counts := result.report.counts:
        yield ", ".join(f"{count} {fault.value}" for fault, count in counts.items())
    for finding in result.report.findings:
        yield described(finding)
    if result.skipped and not result.quick:
        yield f"skipped: {result.skipped}"
