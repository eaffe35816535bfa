"""Checkpoints are read with the mark first, and never as parts of two of them."""

from __future__ import annotations

from typing import Any

import pytest

from broadcaster import BackendUnavailableError, ConfigurationError, connect
from broadcaster.backend.checkpoints.checkpoint import NOTHING, Checkpoint
from broadcaster.core.event import ZERO, EventId
from broadcaster.core.log import KeyState
from broadcaster.core.state.checkpoint import Mark, field_of, packed_values
from broadcaster.core.state.values import Value

HASH = "{pets}:state"


async def add(client: Any, count: int) -> list[EventId]:
    """Add entries, and return their ids."""
    return [EventId.of_entry(await client.xadd("pets", {"data": n})) for n in range(count)]


def value(key: str, id_: EventId, data: bytes = b"1") -> Value:
    return Value(id_, "t", key, data)


async def put(client: Any, mark: Mark, *values: Value) -> None:
    """Write a checkpoint without a folder."""
    fields = {field_of(value.key): packed_values([value]) for value in values}
    await client.hset(HASH, mapping={b"at": mark.packed(), **fields})


async def test_without_a_checkpoint_there_is_none(used: Any) -> None:
    assert await Checkpoint(used, "pets", "last").read() == NOTHING
    assert await Checkpoint(used, "pets", "last").of_keys(["7"]) is None
    assert await Checkpoint(used, "pets", "last").mark() is None


async def test_a_checkpoint_of_many_keys_is_read_with_its_position(used: Any) -> None:
    ids = await add(used, 3)
    mark = Mark(b"m", ids[1], None, 2, "last")
    values = [value(str(n), ids[0]) for n in range(1_200)]
    await put(used, mark, *values)
    found = await Checkpoint(used, "pets", "last").read()
    assert (found.mark, found.start, found.at) == (mark, ids[1], mark.packed())
    assert sorted(found.values) == sorted(values)


async def test_of_more_bytes_than_a_bound_only_a_part_is_read(client: Any) -> None:
    ids = await add(client, 1)
    values = [value(str(n), ids[0]) for n in range(5_000)]
    await put(client, Mark(b"m", ids[0], None, 1, "last"), *values)
    for bound, count in ((0, 5_000), (5_000, 5_000), (1_000, 1_000)):
        found = await Checkpoint(client, "pets", "last", max_bytes=bound).read()
        assert (len(found.values) == count) == (bound != 1_000)
        assert bound < len(found.values) or count == 5_000


@pytest.mark.parametrize(
    "mark",
    [
        Mark(b"m", ZERO, None, 0, "merge"),
        Mark(b"m", ZERO, None, 0, "last", 2),
        Mark(b"m", None, None, 0, "last"),
    ],
)
async def test_of_other_rules_or_only_begun_it_is_not_used(used: Any, mark: Mark) -> None:
    await put(used, mark, value("7", EventId(1, 1)))
    checkpoint = Checkpoint(used, "pets", "last")
    assert await checkpoint.read() == NOTHING._replace(at=mark.packed(), other=mark)
    assert await checkpoint.of_keys(["7"]) is None
    assert await checkpoint.mark() == mark


@pytest.mark.parametrize(
    ("trimmed", "start"),
    [
        (1, 2),  # the entry of the position is there
        (3, 2),  # it is not, but all that followed are
        (4, None),  # one that followed is missing
        (5, None),
    ],
)
async def test_the_log_after_it_is_proven(used: Any, trimmed: int, start: int | None) -> None:
    ids = await add(used, 5)
    mark = Mark(b"m", ids[2], None, 3, "last")
    await put(used, mark, value("7", ids[2]))
    await used.xtrim("pets", 5 - trimmed, approximate=False)
    found = await Checkpoint(used, "pets", "last").read()
    if start is None:
        assert (found.start, found.mark, found.other) == (None, None, mark)
    else:
        assert found.start == (ids[2] if trimmed == 1 else ids[3].before())
        assert found.mark == mark


async def test_of_a_log_that_was_trimmed_to_nothing_it_is_whole(used: Any) -> None:
    ids = await add(used, 3)
    await put(used, Mark(b"m", ids[2], None, 3, "last"), value("7", ids[2]))
    await used.xtrim("pets", 0, approximate=False)
    found = await Checkpoint(used, "pets", "last").read()
    assert (found.start, found.values) == (ids[2], [value("7", ids[2])])
    (later,) = await add(used, 1)
    assert (await Checkpoint(used, "pets", "last").read()).start == later.before()


async def test_of_a_stream_that_was_removed_it_is_not_used(used: Any) -> None:
    ids = await add(used, 3)
    await put(used, Mark(b"m", ids[2], None, 3, "last"), value("7", ids[2]))
    await used.delete("pets")
    assert (await Checkpoint(used, "pets", "last").read()).mark is None
    for id_ in ("1-1", "*"):  # before the position, and after it
        await used.xadd("pets", {"data": 1}, id=id_)
        assert (await Checkpoint(used, "pets", "last").read()).mark is None


async def test_without_a_count_of_redis_a_trimmed_entry_proves_nothing(used: Any) -> None:
    ids = await add(used, 3)
    await put(used, Mark(b"m", ids[1], None, -1, "last"), value("7", ids[1]))
    assert (await Checkpoint(used, "pets", "last").read()).start == ids[1]
    await used.xtrim("pets", 1, approximate=False)
    assert (await Checkpoint(used, "pets", "last").read()).start is None


async def test_keys_are_read_with_their_position_by_one_command(used: Any) -> None:
    ids, since = await add(used, 3), EventId(1, 1)
    values = value("7", ids[0]), value("8", ids[2])
    await put(used, Mark(b"m", ids[1], since, 2, "last"), *values, value("9", EventId(1 << 60, 0)))
    checkpoint = Checkpoint(used, "pets", "last")
    assert await checkpoint.of_keys(["7"]) == KeyState(
        ids[1], ids[1], ids[0], since, (value("7", ids[0]),)
    )
    assert await checkpoint.of_keys(["0"]) == KeyState(ids[1], ids[1], ZERO, since, ())
    found = await checkpoint.of_keys(["7", "0", "8"])
    assert found is not None
    assert (found.newest, found.values) == (ids[2], values)
    moved = await checkpoint.of_keys(["9"])
    assert moved is not None
    assert moved.newest == ids[2], "its id is still to come"
    await used.xtrim("pets", 1, approximate=False)
    found = await checkpoint.of_keys(["7"])
    assert found is not None
    assert found.start == ids[2].before(), "all that came after the position is there"
    await used.xtrim("pets", 0, approximate=False)
    found = await checkpoint.of_keys(["7"])
    assert found is not None
    assert found.start is None


async def test_keys_that_two_connections_have_read_are_read_again(
    used: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await add(used, 1)
    await put(used, Mark(b"m", ids[0], None, 1, "last"), value("7", ids[0]))
    checkpoint, made = Checkpoint(used, "pets", "last"), iter(range(100))
    monkeypatch.setattr(type(checkpoint._stream), "connections", property(lambda _: next(made)))
    with pytest.raises(BackendUnavailableError, match="made anew"):
        await checkpoint.of_keys(["7"])


async def test_it_says_how_far_the_values_may_be_ahead(used: Any) -> None:
    ids = await add(used, 3)
    await put(used, Mark(b"m", ids[0], None, 1, "last"), value("7", ids[0]), value("8", ids[1]))
    assert (await Checkpoint(used, "pets", "last").read()).newest == ids[1]
    moved = value("9", EventId(1 << 50, 0))  # from another shard
    await put(used, Mark(b"m", ids[0], None, 1, "last"), moved)
    assert (await Checkpoint(used, "pets", "last").read()).newest == ids[2]


async def test_a_checkpoint_that_changes_its_maker_is_read_again(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, ids = Checkpoint(client, "pets", "last"), await add(client, 1)
    await put(client, Mark(b"1", ids[0], None, 1, "last"), value("7", ids[0], b"old"))
    read, left = checkpoint._values, [1]

    async def values() -> list[Value]:
        found = await read()
        if left:
            await put(
                client,
                Mark(b"%d" % (left.pop() + 1), ids[0], None, 1, "last"),
                value("7", ids[0], b"new"),
            )
        return found

    monkeypatch.setattr(checkpoint, "_values", values)
    assert [one.data for one in (await checkpoint.read()).values] == [b"new"]
    left += range(3, 10)
    with pytest.raises(BackendUnavailableError, match="keeps changing"):
        await checkpoint.read()


async def test_a_checkpoint_that_goes_on_while_its_log_is_trimmed_is_read_again(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, ids = Checkpoint(client, "pets", "last"), await add(client, 5)
    await put(client, Mark(b"m", ids[0], None, 1, "last"), value("7", ids[0]))
    read, later = checkpoint._values, Mark(b"m", ids[3], None, 4, "last")

    async def values() -> list[Value]:
        found = await read()
        await put(client, later, value("7", ids[3]))
        await client.xtrim("pets", 1, approximate=False)
        return found

    monkeypatch.setattr(checkpoint, "_values", values)
    found = await checkpoint.read()
    assert (found.mark, found.values) == (later, [value("7", ids[3])])


async def test_a_checkpoint_that_two_connections_have_read_is_read_again(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, ids = Checkpoint(client, "pets", "last"), await add(client, 1)
    await put(client, Mark(b"1", ids[0], None, 1, "last"), value("7", ids[0]))
    read, times = checkpoint._values, []

    async def values() -> list[Value]:
        times.append(1)
        found = await read()
        if len(times) == 1:
            await client.connection_pool.disconnect()
        return found

    monkeypatch.setattr(checkpoint, "_values", values)
    assert len((await checkpoint.read()).values) == 1
    assert len(times) == 2


async def test_refusals_of_redis_are_public_errors(client: Any) -> None:
    await client.set(HASH, "no hash")
    with pytest.raises(ConfigurationError, match=r"read the checkpoint '\{pets\}:state'"):
        await Checkpoint(client, "pets", "last").read()
    away = connect("redis://127.0.0.1:1")
    with pytest.raises(BackendUnavailableError):
        await Checkpoint(away, "pets", "last").of_keys(["7"])
    await away.aclose()
