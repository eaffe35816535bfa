"""The records of runs: fences, exactly one end, leases, and requests that keep killing workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from secrets import token_bytes
from typing import Any

import orjson
import pytest

from broadcaster import BackendUnavailableError, ConfigurationError, EventId
from broadcaster.backend.driver.connect import connect
from broadcaster.backend.publishing.outgoing import Commands, NewEntry
from broadcaster.backend.runs.records import Records
from broadcaster.backend.runs.values import Asked, Begun, Piece
from broadcaster.core.runs.record import (
    MAX_DELIVERIES,
    Record,
    RunKeys,
    RunState,
    leases_of,
    new_run,
    newest_of,
)
from tests.backend.conftest import NOBODY, events_of
from tests.channels import named
from tests.wait import until

CHANNELS = named("answers", requests="answers.requests")
LONG_S = 60.0
ASKED = Asked("ann", "ann#7-1", "subject", b"\x00body", 1.0, 100.0)


@pytest.fixture(params=["single", "cluster"])
async def redis(
    request: pytest.FixtureRequest, redis_url: str, cluster_url: str
) -> AsyncIterator[Any]:
    client: Any = connect(redis_url if request.param == "single" else cluster_url)
    await client.flushall()
    yield client
    await client.aclose()


def of(client: Any) -> Records:
    return Records(client, "answers", 1_000)


def drawn() -> EventId:
    return new_run(token_bytes(16))


def entry(text: str, key: str = "k") -> tuple[NewEntry, Piece]:
    made = Commands(CHANNELS, "channel").entry(("answers", "piece", key, text))
    return made, Piece("piece", text.encode())


async def begun(records: Records, run: EventId | str, lease_s: float = LONG_S) -> Begun:
    found = await records.begin(str(run), ASKED, lease_s)
    assert found is not None
    return found


async def told(client: Any) -> list[tuple[str, str, str]]:
    return [(e.type, e.key, e.data.decode()) for e in await events_of(client, "answers")]


async def test_a_run_waits_runs_and_ends_and_its_body_is_stored_once(redis: Any) -> None:
    records, run = of(redis), drawn()
    asked = Asked("ann", str(run), "subject", b"\x00body", LONG_S, 100.0)
    await records.create(run, asked)
    waiting = await records.find(run)
    assert waiting == Record(RunState.WAITING, "", "ann", str(run), "subject", 0, None, None)
    assert await records.known(run)
    made = await records.begin(str(run), None, LONG_S)
    assert made
    assert made[:4] == (1, "ann", str(run), 0)
    assert (made.body, made.pieces) == (b"\x00body", [])
    assert await records.write(run, 1, 1, [entry("a"), entry("b")], LONG_S) == "written"
    assert await records.complete(run, 1, "complete", b"end") == ("ended", 0)
    record = await records.find(run)
    first, _, last = [event.id for event in await events_of(redis, "answers")]
    ids = first, last, made.began_ms
    assert record == Record(RunState.COMPLETE, "", "ann", str(run), "subject", 1, *ids)
    assert await told(redis) == [
        ("piece", "k", "a"),
        ("piece", "k", "b"),
        ("complete", str(run), "end"),
    ]
    keys = RunKeys.of("answers", run)
    assert not await redis.exists(keys.pieces)
    assert await redis.zcard(keys.leases) == 0
    assert not await redis.hexists(keys.record, "body")
    assert 0 < await redis.ttl(keys.record) <= 100


async def test_no_key_of_a_run_is_left_when_its_time_is_over(redis: Any) -> None:
    """A run that is created, one that a worker begins alone, and one that has a successor."""
    records, runs = of(redis), [drawn() for _ in range(3)]
    for run, key in zip(runs[:2], ("ann", "bob"), strict=True):
        assert await records.create(run, Asked(key, str(run), "", b"", LONG_S, 0.1))
        assert await records.begin(str(run), None, LONG_S)
    assert await records.begin(str(runs[2]), Asked("cid", str(runs[2]), ttl_s=0.1), LONG_S)
    newest = drawn()
    assert await records.create(newest, Asked("bob", str(newest), "", b"", LONG_S, 0.1))
    for run in runs:
        assert await records.write(run, 1, 1, [entry("a")], LONG_S) == "written"
        assert await records.complete(run, 1, "complete", b"") == ("ended", 0)

    async def left() -> set[str]:
        return {key.decode() async for key in redis.scan_iter("{answers}:run*")}

    kept = {RunKeys.of("answers", newest).record, newest_of("answers", "bob"), leases_of("answers")}
    await until(lambda: _same(left, kept))
    assert await records.newest("bob") == newest


async def _same(left: Any, kept: set[str]) -> bool:
    return bool(await left() == kept)


async def test_a_batch_is_written_once_and_only_in_its_turn(redis: Any) -> None:
    records, run = of(redis), drawn()
    await begun(records, run)
    for _ in range(2):  # the answer to the first was lost
        assert await records.write(run, 1, 1, [entry("a")], LONG_S) == "written"
    assert await records.write(run, 1, 3, [entry("c")], LONG_S) == "lost"
    assert await records.write(run, 2, 2, [entry("x")], LONG_S) == "lost"
    assert await records.write(drawn(), 1, 1, [entry("x")], LONG_S) == "absent"
    assert await records.write(run, 1, 2, [entry("b")], LONG_S) == "written"
    assert await records.write(run, 1, 1, [entry("a")], LONG_S) == "lost"
    assert [data for _, _, data in await told(redis)] == ["a", "b"]


async def test_a_run_has_one_worker_until_its_lease_ends(redis: Any) -> None:
    records, run = of(redis), drawn()
    await begun(records, run, 0.2)
    assert await records.begin(str(run), ASKED, LONG_S) is None
    assert await records.write(run, 1, 1, [entry("a")], 0.05) == "written"
    second = await until(lambda: records.begin(str(run), ASKED, LONG_S))
    assert second
    assert (second.attempt, second.batch, second.pieces) == (2, 1, [Piece("piece", b"a")])
    assert await records.write(run, 1, 2, [entry("from the first")], LONG_S) == "lost"
    assert await records.keep([(str(run), 1), (str(run), 2)], LONG_S) == ["lost", "running"]
    assert await records.complete(run, 1, "complete", b"") == ("lost", 0)
    assert await records.write(run, 2, 2, [entry("b")], LONG_S) == "written"


async def test_the_first_end_wins_and_there_is_one(redis: Any) -> None:
    records = of(redis)
    runs = [drawn() for _ in range(5)]
    for run in runs:
        assert await records.begin(str(run), ASKED._replace(wait_s=0.0), 0.0)
        ends = (
            records.complete(run, 1, "complete", b""),
            records.stop(run),
            records.end_if_due(run),
            records.fail(run, 1, "trouble"),
        )
        await asyncio.gather(*ends)
        said = await records.write(run, 1, 1, [entry("late")], LONG_S)
        assert RunState(said).over
    found = await told(redis)
    assert len(found) == len(runs)
    states = [record.state for run in runs if (record := await records.find(run))]
    types = {"complete": "complete", "stopped": "stopped", "failed": "failed"}
    assert [types[state] for state in states] == [type_ for type_, *_ in found]


async def test_a_run_that_a_client_stops(redis: Any) -> None:
    records, run = of(redis), drawn()
    await begun(records, run)
    assert await records.stop(run) == "ended"
    assert await records.stop(run) == "stopped"
    assert await records.stop(drawn()) == "absent"
    assert await records.keep([(str(run), 1)], LONG_S) == ["stopped"]
    assert await records.write(run, 1, 1, [entry("late")], LONG_S) == "stopped"
    assert await records.complete(run, 1, "complete", b"") == ("stopped", 1)
    assert await records.begin(str(run), ASKED, LONG_S) is None
    assert await told(redis) == [("stopped", "ann#7-1", "{}")]


async def test_for_how_long_no_worker_has_had_a_run(redis: Any) -> None:
    records, waits, runs = of(redis), drawn(), drawn()
    assert await records.look([]) == []
    for run in (waits, runs):
        await records.create(run, ASKED._replace(wait_s=60.0))
    first = await begun(records, runs, LONG_S)
    found, none, absent = await records.look([waits, runs, drawn()])
    assert found is not None
    assert 0 <= found.waited_ms < 60_000
    assert found.waited_ms + found.left_ms == 60_000
    assert (none, absent) == (None, None)
    await records.keep([(str(runs), first.attempt)], 0.0)  # it is given back
    (given,) = await records.look([runs])
    assert given is not None
    assert given.waited_ms + given.left_ms == 60_000
    for run in (waits, runs):
        await records.stop(run)
    assert await records.look([waits, runs]) == [None, None]


async def test_where_no_worker_lives_a_run_is_ended_by_the_clock_of_redis(redis: Any) -> None:
    records, waits, runs = of(redis), drawn(), drawn()
    await records.create(waits, ASKED._replace(wait_s=0.2))
    await records.create(runs, ASKED._replace(wait_s=0.2))
    await begun(records, runs, 0.2)
    for run in (waits, runs):
        assert await records.end_if_due(run) == "alive"
    far_ms = 10**15
    assert set(await records.due(far_ms)) == {str(waits), str(runs)}
    assert len(await records.due(far_ms, limit=1)) == 1
    assert await records.due(0) == []

    async def ended() -> bool:
        for run in await records.due(far_ms):
            await records.end_if_due(run)
        return not await records.due(far_ms)

    await until(ended)
    assert {(type_, data) for type_, _, data in await told(redis)} == {
        ("failed", '{"reason":"waited"}'),
        ("failed", '{"reason":"worker"}'),
    }
    found = [await records.find(run) for run in (waits, runs)]
    assert [one.state for one in found if one] == [RunState.EXPIRED, RunState.FAILED]
    gone = drawn()
    await redis.zadd(RunKeys.of("answers", gone).leases, {str(gone): 1})
    assert await records.begin(str(gone), None, LONG_S) is None
    assert await records.end_if_due(gone) == "absent"
    assert await records.due(far_ms) == []


async def test_a_request_that_keeps_killing_its_worker_fails(redis: Any) -> None:
    records, run = of(redis), drawn()
    await records.create(run, ASKED)
    given_back = await begun(records, run)
    assert await records.keep([(str(run), given_back.attempt)], 0.0) == ["running"]
    for number in range(MAX_DELIVERIES):
        assert (await begun(records, run, 0.0)).attempt == number + 2
    assert await records.begin(str(run), ASKED, 0.0) is None
    record = await records.find(run)
    assert record
    assert (record.state, record.reason) == (RunState.FAILED, "deliveries")
    assert await told(redis) == [("failed", "ann#7-1", '{"reason":"deliveries"}')]
    ((_, dead),) = await redis.xrange(RunKeys.of("answers", run).dead)
    assert dead == {b"run": str(run).encode(), b"key": b"ann", b"body": b"\x00body"}


async def test_a_restart_is_said_and_forgets_the_pieces(redis: Any) -> None:
    records, run = of(redis), drawn()
    await begun(records, run, 0.0)
    await records.write(run, 1, 1, [entry("a")], 0.0)
    for _ in range(2):
        assert await records.write(run, 1, 2, [], 0.0, restart=True) == "written"
    await records.write(run, 1, 3, [entry("b")], 0.0)
    assert (await begun(records, run)).pieces == [Piece("piece", b"b")]
    entries = await redis.xrange("answers")
    record = await records.find(run)
    assert record
    assert record.first == EventId.of_entry(entries[1][0])
    assert (record.restarts, record.told) == (1, 1)
    assert [fields.get(b"type") for _, fields in entries] == [None, b"stream.restart", None]
    assert entries[1][1][b"key"] == b"ann#7-1"


async def test_a_run_that_a_worker_of_an_earlier_version_began(redis: Any) -> None:
    records, run, over = of(redis), drawn(), drawn()
    keys = RunKeys.of("answers", run)
    await redis.set(keys.record, orjson.dumps(["another", ["1", "2"], False, 0]))
    await redis.set(RunKeys.of("answers", over).record, orjson.dumps(["another", [], True, 0]))
    assert await records.begin(str(over), ASKED, LONG_S) is None
    made = await begun(records, run)
    assert made.pieces == [Piece("", b"1"), Piece("", b"2")]
    assert await records.write(run, 1, 1, [entry("3")], LONG_S) == "written"


async def test_a_worker_without_a_right_writes_nothing(redis_url: str, client: Any) -> None:
    run = drawn()
    await begun(of(client), run)
    try:
        for right in ("zadd", "pexpire", "hset", "rpush"):
            await client.execute_command(
                *["ACL", "SETUSER", "less", "on", ">x", "resetkeys", "~*", "+@all", f"-{right}"]
            )
            less: Any = connect(redis_url.replace("//", "//less:x@"))
            with pytest.raises(ConfigurationError, match=r"(?i)permission|rights"):
                await of(less).write(run, 1, 1, [entry("a")], LONG_S)
            await less.aclose()
            assert await told(client) == []
    finally:
        await client.execute_command("ACL", "DELUSER", "less")
    assert await of(client).write(run, 1, 1, [entry("a")], LONG_S) == "written"


async def test_trouble_is_named(client: Any) -> None:
    run, nobody = drawn(), connect(NOBODY)
    away = of(nobody)
    for call in (
        away.create(run, ASKED),
        away.begin(str(run), ASKED, LONG_S),
        away.write(run, 1, 1, [entry("a")], LONG_S),
        away.complete(run, 1, "complete", b""),
        away.keep([(str(run), 1)], LONG_S),
        away.due(0),
        away.find(run),
        away.known(run),
    ):
        with pytest.raises(BackendUnavailableError):
            await call
    await nobody.aclose()
    await client.set(RunKeys.of("answers", run).leases, "no set")
    with pytest.raises(ConfigurationError):
        await of(client).due(0)
    with pytest.raises(ConfigurationError):
        await of(client).create(run, ASKED)
    await client.set(RunKeys.of("answers", run).record, "no hash")
    with pytest.raises(ConfigurationError):
        await of(client).keep([(str(run), 1), (str(run), 1)], LONG_S)


async def test_an_owner_has_so_many_runs_that_are_not_over(redis: Any) -> None:
    records, runs = of(redis), [drawn() for _ in range(4)]
    assert [await records.create(run, ASKED, 2) for run in runs[:3]] == [True, True, False]
    assert await records.find(runs[2]) is None
    assert await records.create(runs[2], ASKED._replace(owner="another"), 2)
    await records.stop(runs[0])
    assert await records.create(runs[3], ASKED, 2)


async def test_a_run_that_is_asked_for_twice_goes_on_as_it_is(redis: Any) -> None:
    records, run = of(redis), drawn()
    assert await records.create(run, ASKED, 1)
    assert await records.create(run, ASKED, 1)
    await begun(records, run)
    assert await records.create(run, ASKED._replace(body=b"another"), 1)
    found = await records.find(run)
    assert found
    assert (found.state, found.attempt) == (RunState.RUNNING, 1)


async def test_runs_that_begin_at_once_count_as_well(redis: Any) -> None:
    records, runs = of(redis), [str(drawn()) for _ in range(4)]
    begun = [await records.begin(run, ASKED, LONG_S, 2) for run in runs[:3]]
    assert [made is not None for made in begun] == [True, True, False]
    assert await records.find(runs[2]) is None
    assert not await records.create(drawn(), ASKED, 2)
    found = await records.find(runs[0])
    assert found
    assert found.owner == "subject"
    await records.complete(runs[0], 1, "complete", b"{}")
    assert await records.begin(runs[3], ASKED, LONG_S, 2)


async def test_the_newest_run_about_a_key_is_found_however_it_has_begun(redis: Any) -> None:
    records, waiting, begun_at_once = of(redis), drawn(), drawn()
    assert await records.newest("ann") is None
    await records.create(waiting, ASKED)
    assert await records.newest("ann") == waiting
    await begun(records, begun_at_once)
    assert await records.newest("ann") == begun_at_once
    await begun(records, waiting)
    assert await records.newest("ann") == begun_at_once
    assert await records.newest("bob") is None


async def test_a_run_that_is_produced_where_it_was_asked_for_is_taken_over_by_no_worker(
    redis: Any,
) -> None:
    records, run = of(redis), drawn()
    alone = ASKED._replace(wait_s=0.0)
    assert await records.begin(str(run), alone, 0.0)
    assert await records.begin(str(run), alone, LONG_S) is None
    assert await records.end_if_due(run) == "ended"
