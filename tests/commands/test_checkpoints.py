"""What `broadcaster check` says of checkpoints: holes, lag, other rules, and missing rights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from broadcaster import EmbeddedRedis, connect_sync
from broadcaster.backend.probe import Probe
from broadcaster.commands.checkpoints import found
from broadcaster.core.event import EventId
from broadcaster.core.state.checkpoint import Mark

pytestmark = pytest.mark.server


@pytest.fixture
def store(redis_url: str) -> Iterator[Any]:
    """A blocking client of the empty server."""
    with connect_sync(redis_url) as client:
        yield client


def said(url: str) -> tuple[str, str]:
    """Return the level and the text about the state of a stream."""
    probe = Probe(url)
    try:
        finding = found(probe, "pets", "pets", "last|")
    finally:
        probe.close()
    assert finding.subject == "state of pets"
    assert bool(finding.advice) == (finding.level != "ok")
    return finding.level, finding.text


def mark(store: Any, position: EventId | None, **other: Any) -> None:
    made = Mark(b"m", position, None, 1, "last|")._replace(**other)
    store.hset("{pets}:state", "at", made.packed())


def test_a_checkpoint_at_the_head_is_fine(redis_url: str, store: Any) -> None:
    head = EventId.of_entry(store.xadd("pets", {"data": 1}))
    mark(store, head)
    assert said(redis_url) == ("ok", f"whole, its checkpoint ends at {head}")
    store.xadd("pets", {"data": 2})
    assert said(redis_url)[0] == "ok"  # it is not there for long


def test_without_a_checkpoint_it_says_so(redis_url: str, store: Any) -> None:
    level, text = said(redis_url)
    assert (level, "there is no checkpoint" in text) == ("warning", True)
    mark(store, None)
    assert said(redis_url) == (level, text)


def test_a_hole_is_named(redis_url: str, store: Any) -> None:
    head = EventId.of_entry(store.xadd("pets", {"data": 1}))
    mark(store, head, since=EventId(7, 0))
    level, text = said(redis_url)
    assert (level, "it is whole since 7-0 only" in text) == ("warning", True)


def test_other_rules_are_named(redis_url: str, store: Any) -> None:
    mark(store, EventId(7, 0), rules="merge|")
    assert said(redis_url) == ("warning", "its checkpoint is of other rules")


def test_a_folder_that_is_behind_is_named(redis_url: str, store: Any) -> None:
    store.xadd("pets", {"data": 1}, id="7-0")
    store.xadd("pets", {"data": 1}, id="8-0")
    mark(store, EventId(7, 0))
    level, text = said(redis_url)
    assert level == "warning"
    assert text.startswith("its checkpoint ends at 7-0, and is ")


def test_a_missing_right_is_named(redis_server: EmbeddedRedis, store: Any) -> None:
    rules = ["on", ">pw", "resetkeys", "-@all", "+@connection", "+hget", "%R~{pets}:state"]
    store.execute_command("ACL", "SETUSER", "half", *rules)
    try:
        level, text = said(f"redis://half:pw@127.0.0.1:{redis_server.port}")
    finally:
        store.execute_command("ACL", "DELUSER", "half")
    assert level == "problem"
    assert text.startswith("nodes can't load it: ")
    assert "hmget" in text
