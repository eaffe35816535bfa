"""A flush is written where the mark is the expected one and the log has what was folded."""

from __future__ import annotations

from typing import Any

import pytest

from broadcaster import BackendUnavailableError, ConfigurationError, connect
from broadcaster.backend.checkpoints import flush as module
from broadcaster.backend.checkpoints.flush import Flush, Flushed, pieces
from broadcaster.core.event import ZERO, EventId

HASH, LOCK = "{pets}:state", "{pets}:folder"


async def added(client: Any, count: int = 1) -> EventId:
    """Add entries, and return the id of the last one."""
    ids = [await client.xadd("pets", {"data": n}) for n in range(count)]
    return EventId.of_entry(ids[-1])


async def test_a_flush_writes_what_changed_and_the_mark(used: Any) -> None:
    flush, proof = Flush(used, "pets"), await added(used)
    first = await flush.write(b"", proof=proof, at=b"one", values={b":7": b"a", b":8": b"b"})
    second = await flush.write(b"one", proof=proof, values={b":7": b"c"}, gone=(b":8",))
    assert (first, second) == (Flushed.WRITTEN, Flushed.WRITTEN)
    assert await used.hgetall(HASH) == {b"at": b"one", b":7": b"c"}


@pytest.mark.parametrize("expected", [b"", b"other"])
async def test_a_flush_onto_the_mark_of_another_writes_nothing(used: Any, expected: bytes) -> None:
    flush, proof = Flush(used, "pets"), await added(used)
    await flush.write(b"", proof=proof, at=b"one", values={b":7": b"a"})
    said = await flush.write(
        expected, proof=proof, at=b"two", values={b":7": b"x"}, gone=(b":7",), anew=True
    )
    assert said == Flushed.OVERTAKEN
    assert await used.hgetall(HASH) == {b"at": b"one", b":7": b"a"}


async def test_a_flush_of_what_the_log_does_not_have_writes_nothing(used: Any) -> None:
    flush, proof = Flush(used, "pets"), await added(used)
    for missing in (proof.after(), EventId(1, 1)):
        assert await flush.write(b"", proof=missing, values={b":7": b"a"}) == Flushed.UNPROVEN
    await used.delete("pets")
    assert await flush.write(b"", proof=proof, values={b":7": b"a"}) == Flushed.UNPROVEN
    assert not await used.exists(HASH)


async def test_an_entry_that_was_trimmed_is_proven_while_it_is_the_newest(used: Any) -> None:
    flush, proof = Flush(used, "pets"), await added(used, 3)
    await used.xtrim("pets", 0, approximate=False)
    assert await flush.write(b"", proof=proof, values={b":7": b"a"}) == Flushed.WRITTEN
    await added(used)
    assert await flush.write(b"", proof=proof, values={b":7": b"b"}) == Flushed.UNPROVEN


async def test_before_any_entry_the_mark_is_enough(used: Any) -> None:
    assert await Flush(used, "pets").write(b"", proof=ZERO, at=b"one") == Flushed.WRITTEN
    assert await used.hgetall(HASH) == {b"at": b"one"}


async def test_to_begin_anew_removes_what_is_there(used: Any) -> None:
    flush, proof = Flush(used, "pets"), await added(used)
    await flush.write(b"", proof=proof, at=b"one", values={b":7": b"a"})
    await flush.write(b"one", proof=proof, at=b"two", values={b":8": b"b"}, anew=True)
    assert await used.hgetall(HASH) == {b"at": b"two", b":8": b"b"}


async def test_the_lock_has_one_holder(used: Any) -> None:
    flush = Flush(used, "pets")
    assert await flush.hold("a", 60)
    assert await flush.hold("a", 60)
    assert not await flush.hold("b", 60)
    await flush.release("b")
    assert await used.get(LOCK) == b"a"
    await flush.release("a")
    assert await flush.hold("b", 60)
    assert 0 < await used.pttl(LOCK) <= 60_000


async def test_refusals_of_redis_are_public_errors(redis_url: str, client: Any) -> None:
    await client.set(HASH, "no hash")
    with pytest.raises(ConfigurationError, match=r"write the checkpoint '\{pets\}:state'"):
        await Flush(client, "pets").write(b"", proof=ZERO, at=b"one")
    away = connect("redis://127.0.0.1:1")
    with pytest.raises(BackendUnavailableError):
        await Flush(away, "pets").hold("a", 1)
    await away.aclose()


def test_pieces_are_bounded_by_keys_and_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE_KEYS", 3)
    monkeypatch.setattr(module, "PIECE_BYTES", 10)
    sizes = [2, 2, 2, 2, 20, 1, 8, 1]
    fields = [(b"%d" % n, b"x" * (size - 1)) for n, size in enumerate(sizes)]
    found = list(pieces(iter(fields)))
    assert [len(piece) for piece in found] == [3, 1, 1, 3]
    assert [pair for piece in found for pair in piece.items()] == fields
    assert list(pieces(iter(()))) == []


def test_a_field_is_made_when_its_piece_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE_KEYS", 1)
    made = []

    def fields() -> Any:
        for n in range(3):
            made.append(n)
            yield b"%d" % n, b""

    assert next(pieces(fields())) == {b"0": b""}
    assert made == [0, 1]
