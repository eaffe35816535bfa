"""The benchmarks measure what they say: a small run, and the judgement of its figures."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.fanout import many_channels, one_channel
from bench.measure import summary
from bench.report import BEGIN, END, rows_table, targets_table, write_into
from bench.workload import Scale, Target

linux = pytest.mark.skipif(sys.platform != "linux", reason="CPU clocks of processes are Linux's")


@linux
def test_a_small_run_sees_every_event_and_what_it_costs() -> None:
    found = one_channel(["transport", "asgi", "floor"], Scale(1, 0.3, 0.004), lambda _: None)
    assert [row["server"] for row in found.rows] == ["transport", "asgi", "floor"]
    for row in found.rows:
        assert row["missed"] == 0
        assert row["cpu_us"] > 0
        assert 0 < row["p50_ms"] <= row["p99_ms"] <= row["max_ms"]
    beside_floor, beside_nchan, _, lost = found.targets
    assert beside_floor.measured == pytest.approx(found.rows[0]["cpu_us"] / found.rows[2]["cpu_us"])
    assert beside_nchan.measured is None
    assert lost.measured == 0


@linux
def test_a_small_run_of_several_channels_sees_every_event() -> None:
    found = many_channels(["transport"], Scale(1, 0.3, 0.004), lambda _: None)
    assert [row["what"] for row in found.rows] == ["3 of 20 channels", "1 channel"]
    assert [row["missed"] for row in found.rows] == [0, 0]


def test_a_missed_target_says_by_how_much() -> None:
    assert Target("ms", 20, 20).result()["met"]
    assert Target("ms", 20, 25).result()["missed_by"] == pytest.approx(0.25)
    assert Target("events/s", 100, 80, least=True).result()["missed_by"] == pytest.approx(0.25)
    assert not Target("lost", 0, 1).result()["met"]
    assert Target("lost", 0, 0).result()["met"]
    assert not Target("beside nchan", 0.5, None).result()["met"]


def test_a_spread_that_is_too_wide_is_reported() -> None:
    def rounds(*cpu: float) -> list[dict[str, float]]:
        return [{"cpu_us": value, "max_ms": value, "missed": value} for value in cpu]

    calm, wild = summary(rounds(10, 11, 12)), summary(rounds(10, 11, 14))
    assert not calm["disturbed"]
    assert wild["disturbed"]
    assert (wild["cpu_us"], wild["max_ms"], wild["missed"]) == (11, 14, 14)
    rows = [{"server": "transport", **wild}, {"server": "floor", **calm}]
    assert "11.0 (10.0 to 14.0 disturbed)" in rows_table(rows)


def test_the_page_keeps_text_written_by_hand(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    targets = [Target("p99 in ms", 20, 25.0).result()]
    table = targets_table([{"number": "2", "targets": targets}])
    write_into(page, table)
    assert page.read_text() == f"before\n\n{BEGIN}\n\n{table}\n\n{END}\n\nafter\n"
    assert "**missed by 25 %**" in table
