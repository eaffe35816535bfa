"""The page that a run writes, `docs/results/reliability.md`: what each scenario showed, by seed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from bench.report import machine, write_into
from tests.chaos.playing import Result

PAGE = Path(__file__).parents[2] / "docs" / "results" / "reliability.md"


def write(
    results: Sequence[Result],
    seeds: Sequence[int],
    minutes: float,
    *,
    quick: bool,
    page: Path = PAGE,
) -> None:
    """Write what was found between the page's marks.

    Args:
        results: in order, by number within each seed.
        seeds: those that were played.
        minutes: how long it took.
        quick: it was the short run.
        page: the file.
    """
    about = machine()
    faults = sum(result.report.counts.total() for result in results)
    head = (
        f"{'Short run' if quick else 'Run'} of {date.today().isoformat()}, {minutes:.0f} minutes, "
        f"seed {', '.join(map(str, seeds))}: {about['cpu']}, {about['cores']} cores, Linux "
        f"{about['kernel']}, Python {about['python']}, redis-py {about['redis']}. "
        f"{sum(result.report.deliveries for result in results):,} deliveries over "
        f"{sum(result.report.connections for result in results):,} connections were checked; lost, "
        f"duplicate, reordered, phantom, leaked, corrupt, fatal and wrong together: {faults}. "
        "Deliveries are of all seeds, figures of each."
    )
    numbers = sorted({result.scenario.number for result in results})
    sections = [_section([r for r in results if r.scenario.number == n]) for n in numbers]
    write_into(page, "\n\n".join([head, *sections]))


def _section(results: Sequence[Result]) -> str:
    first = results[0].scenario
    deliveries = sum(result.report.deliveries for result in results)
    lines: dict[str, list[str]] = {}
    for result in results:
        for shown in result.shown:
            wrong = "" if shown.right else "**NOT:** "
            lines.setdefault(shown.what, []).append(wrong + shown.measured)
        if result.error:
            lines.setdefault("**failed**", []).append(result.error.strip().splitlines()[-1])
        for fault, count in result.report.counts.items():
            lines.setdefault(f"**{fault.value}**", []).append(str(count))
        for missed in result.missed_first:
            lines.setdefault(f"seed {result.seed}, played twice; the first time", []).append(missed)
        if result.skipped:
            lines.setdefault("skipped", []).append(result.skipped)
    points = [f"* {what}: {_joined(measured)}" for what, measured in lines.items()]
    return "\n".join(
        [f"## {first.number}. {first.title}", "", f"{deliveries:,} deliveries.", "", *points]
    )


def _joined(measured: list[str]) -> str:
    return measured[0] if len(set(measured)) == 1 else " · ".join(measured)
