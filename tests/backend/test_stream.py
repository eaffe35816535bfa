"""Entries that can't be sent."""

from __future__ import annotations

import pytest

from broadcaster.backend.stream import Decoder
from broadcaster.core import sse
from broadcaster.core.event import EventId


def test_an_entry_that_can_not_be_sent_keeps_its_place(caplog: pytest.LogCaptureFixture) -> None:
    decoder = Decoder("pets", max_event_bytes=1000)
    rows = [[b"%d-0" % number, [b"type", b"\x1b", b"data", b"x"]] for number in range(100)]
    rows.append([b"100-0", [b"data", b"x"]])
    frames = decoder.decode(rows)
    assert frames[:100] == [sse.skipped(EventId(number, 0)) for number in range(100)]
    assert frames[100].wire
    assert (decoder.frames, decoder.malformed) == (1, 100)
    (record,) = caplog.records  # it could be each entry of a busy stream
    assert "entry 0-0 of stream 'pets' is not sent" in record.getMessage()
