from __future__ import annotations

from hashlib import sha1

import pytest

from broadcaster.core.event import EventId
from broadcaster.core.runs.record import (
    Record,
    RunKeys,
    RunState,
    leases_of,
    new_run,
    newest_of,
    owned_of,
    run_named,
)

RUN = EventId(7, 1)


def test_an_id_has_all_random_bits_and_is_read_in_a_cursor_by_any_version() -> None:
    run = new_run(bytes(range(16)))
    assert run == EventId(0x0001020304050607, 0x08090A0B0C0D0E0F)
    assert EventId.parse(str(run)) == run
    assert new_run(b"\xff" * 16) == EventId(2**64 - 1, 2**64 - 1)


def test_a_run_that_its_client_names_is_the_same_for_the_same_key_and_name() -> None:
    named = run_named("chat", "run")
    assert run_named("chat", "run") == named
    assert EventId.parse(str(named)) == named
    others = [("cha", "trun"), ("chatr", "un"), ("chat", "run2"), ("chat2", "run")]
    assert len({named, *(run_named(*of) for of in others)}) == 5


def test_a_text_that_only_json_can_name_names_a_run_as_any_other() -> None:
    odd = "\ud800"  # half of a surrogate pair
    assert run_named("chat", odd) != run_named("chat", "?")
    assert run_named(odd, "run") != run_named("?", "run")
    assert newest_of("answers", odd) != newest_of("answers", "?")


def test_all_keys_of_a_run_are_in_the_slot_of_its_stream() -> None:
    keys = RunKeys.of("answers", RUN)
    assert keys == (
        "answers",
        "{answers}:run:7-1",
        "{answers}:runs",
        "{answers}:run:7-1:pieces",
        "{answers}:runs:dead",
    )
    assert RunKeys.of("a{b}", RUN).record == "a{b}:run:7-1"
    assert leases_of("answers") == keys.leases
    assert owned_of("answers", "ann").startswith("{answers}:runs:of:")
    assert owned_of("answers", "ann") != owned_of("answers", "bob")
    of_ann = "{answers}:runs:about:" + sha1(b"ann").hexdigest()
    assert newest_of("answers", "ann") == of_ann
    assert newest_of("answers", "bob") != of_ann


@pytest.mark.parametrize("state", RunState)
def test_a_run_is_over_in_one_of_four_states(state: RunState) -> None:
    assert state.over == (state in ("complete", "failed", "stopped", "expired"))


def test_a_record_is_read_from_its_hash() -> None:
    assert Record.of({}) is None
    least = Record.of({b"state": b"waiting"})
    assert least == Record(RunState.WAITING, "", "", "", "", 0, None, None)
    fields = {
        b"state": b"failed",
        b"reason": b"worker",
        b"key": b"ann",
        b"event_key": b"ann#7-1",
        b"owner": b"a",
        b"attempt": b"2",
        b"first": b"8-3",
        b"last": b"9-0",
        b"body": b"\xff",
    }
    expected = RunState.FAILED, "worker", "ann", "ann#7-1", "a", 2, EventId(8, 3), EventId(9, 0)
    assert Record.of(fields) == Record(*expected)
    since = {b"began": b"1700", b"restarts": b"3", b"told": b"12"}
    assert Record.of(fields | since) == Record(*expected, began_ms=1700, restarts=3, told=12)
