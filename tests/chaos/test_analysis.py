"""The figures that scenarios are judged by."""

from __future__ import annotations

import pytest

from tests.chaos.analysis import outages, peak_to_mean
from tests.chaos.history import Block, Kind
from tests.chaos.scribe import ONE, Scribe, ledger_of


def test_a_herd_within_a_second_is_not_spread() -> None:
    assert peak_to_mean([5.0 + n / 1000 for n in range(280)], spread_s=14.0) == (280, 20.0)
    evenly = [n / 20 for n in range(280)]
    assert peak_to_mean(evenly, spread_s=14.0) == (20, 20.0)
    with pytest.raises(ValueError, match="nothing"):
        peak_to_mean([], spread_s=14.0)


def test_an_outage_lasts_from_the_loss_until_the_stream_goes_on() -> None:
    scribe = Scribe(ledger_of("a")).begin(ONE)
    scribe.put(Block(Kind.CHECKPOINT, scribe.cursor(), retry_ms=700), 1.0)
    scribe.chain.note("disconnect", "cut", 2.0)
    scribe.chain.note("connect", "", 3.0)
    scribe.put(Block(Kind.CHECKPOINT, scribe.cursor(), retry_ms=900), 3.0)
    scribe.put(Block(Kind.LIVE, scribe.cursor()), 4.5)
    scribe.chain.note("disconnect", "closed", 6.0)
    first, second = outages(scribe.recording)
    assert (first.start_s, first.seconds, first.retry_s) == (2.0, 2.5, 0.7)
    assert (second.start_s, second.seconds, second.retry_s) == (6.0, float("inf"), 0.9)


def test_a_client_that_left_has_no_outage() -> None:
    scribe = Scribe(ledger_of("a")).begin(ONE)
    scribe.chain.note("disconnect", "left", 2.0)
    assert not list(outages(scribe.recording))
