from __future__ import annotations

import pytest
from redis.crc import key_slot

from broadcaster.core.shards import in_slot_of, shard_of, without_shard


def test_the_shard_of_a_key_is_what_other_languages_compute() -> None:
    # The check value of CRC-32/ISO-HDLC: https://reveng.sourceforge.io/crc-catalogue/all.htm
    assert shard_of("123456789", 1 << 32) == 0xCBF43926
    assert shard_of("", 8) == 0
    assert shard_of("Größe", 1 << 32) == 0x946E9015


def test_a_streams_name_has_its_channel_and_shard() -> None:
    assert without_shard("orders.12") == ("orders", 12)
    assert without_shard("a.b") == ("a.b", None)
    assert without_shard("orders") == ("orders", None)


@pytest.mark.parametrize("stream", ["orders", "orders.3", "{a}b", "a{b}c", "a{", "{a}{b}", "ä"])
def test_a_key_can_lie_in_the_slot_of_a_stream(stream: str) -> None:
    key = in_slot_of(stream, "marker")
    assert key.endswith(":marker")
    assert key_slot(key.encode()) == key_slot(stream.encode())
