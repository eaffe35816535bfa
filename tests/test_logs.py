"""A log of a user's own, made of public names alone: the example of the documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broadcaster import EventId, InvalidEventError, Log, MemoryLog, logs
from tests.docs.terminal import file_of

PAGE = "docs/extending.md"
IDS = [EventId(1795375120000 + ms, 0) for ms in (2, 3, 5)]
ABOUT = [EventId(0, 0), *(EventId(1795375120000 + ms, 0) for ms in range(1, 7))]
QUESTIONS: list[Callable[[EventId], logs.Question]] = [
    logs.AtOrBefore, logs.Entry, logs.Exists, logs.PageAfter,
]  # fmt: skip


def append(path: Path, id: EventId) -> None:
    with path.open("a") as file:
        print(json.dumps({"id": str(id), "key": "7", "data": {"left": 3}}), file=file)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Log:
    """The example's log, with three events."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(file_of(PAGE, "in_files.py"), names)
    for id in IDS:
        append(tmp_path / "inventory.jsonl", id)
    made: Log = names["FileLog"]()
    return made


async def test_it_answers_as_the_log_in_memory_does(log: Log) -> None:
    other = MemoryLog()
    for id in IDS:
        other.add("inventory", key="7", data={"left": 3}, id=id)
    asked = [make(position) for make in QUESTIONS for position in ABOUT]
    for question in (logs.Beginning(), *asked):
        for stream in ("inventory", "orders"):
            expected = await other.ask(stream, question)
            assert await log.ask(stream, question, logs.Reader("::1")) == expected, question
    assert await log.retained("inventory") == logs.Retained(3)
    assert log.status("inventory") == logs.Status()


async def test_it_yields_what_is_appended(log: Log, tmp_path: Path) -> None:
    window = logs.Window(2, 1 << 20)
    changes = log.changes("inventory", window)
    restart = await anext(changes)
    assert isinstance(restart, logs.Restart)
    window.restart(restart.floor, complete=restart.complete)
    window.append(restart.frames)
    assert (window.floor, window.head, window.complete) == (IDS[0], IDS[-1], False)
    append(tmp_path / "inventory.jsonl", IDS[-1].after())
    assert await anext(changes) == logs.Batch(
        [logs.frame_of(IDS[-1].after(), key="7", data={"left": 3})]
    )
    await changes.aclose()


def test_a_frame_has_the_bytes_that_are_sent() -> None:
    frame = logs.frame_of(IDS[0], type="sold", key="7", data={"n": 1})
    assert frame.wire == b'id: 1795375120002-0\nevent: sold\ndata: {"n":1}\n\n'
    assert (frame.type, frame.key, frame.data) == ("sold", "7", b'{"n":1}')
    with pytest.raises(InvalidEventError):
        logs.frame_of(IDS[0], type="stream.live")
