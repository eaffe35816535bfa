"""Rights are found out by trying, and trying changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from broadcaster import BackendUnavailableError, ConfigurationError, connect_sync
from broadcaster.backend.probe import Probe


@pytest.fixture
def store(redis_url: str) -> Iterator[Any]:
    """A blocking client; it may do everything."""
    with connect_sync(redis_url) as client:
        yield client
        client.execute_command("ACL", "DELUSER", "limited")


def limited(redis_url: str, store: Any, *rules: str) -> Probe:
    store.execute_command("ACL", "SETUSER", "limited", "on", ">pw", "~*", *rules)
    return Probe(redis_url.replace("//", "//limited:pw@"))


def test_with_all_rights_nothing_is_refused_and_nothing_is_changed(
    redis_url: str, store: Any
) -> None:
    with closing(Probe(redis_url)) as probe:
        assert probe.why_not_read("pets") == ""
        assert probe.why_not_add("pets") == ""
        assert probe.length("pets") == 0
        assert "maxmemory_policy" in probe.info()
        assert store.dbsize() == 0
        store.xadd("pets", {"data": "x"})
        assert probe.length("pets") == 1
        assert probe.why_not_add("pets") == ""
        assert store.xlen("pets") == 1


@pytest.mark.parametrize("missing", ["xread", "xrange", "xrevrange", "xinfo|stream"])
def test_a_command_that_a_node_needs_and_may_not_send_is_named(
    redis_url: str, store: Any, missing: str
) -> None:
    with closing(limited(redis_url, store, "+@all", f"-{missing}")) as probe:
        assert missing in probe.why_not_read("pets")
        assert probe.why_not_add("pets") == ""


def test_a_missing_right_to_add_is_reported(redis_url: str, store: Any) -> None:
    with closing(limited(redis_url, store, "+@all", "-xadd", "-info")) as probe:
        assert "xadd" in probe.why_not_add("pets")
        assert probe.info() == {}


@pytest.mark.parametrize("missing", ["xlen", "xdel", "xinfo|groups", "eval"])
def test_a_missing_right_to_requests_is_reported(redis_url: str, store: Any, missing: str) -> None:
    with closing(limited(redis_url, store, "+@all", f"-{missing}")) as probe:
        assert missing in probe.why_not_request("pets.requests")
    with closing(Probe(redis_url)) as probe:
        assert probe.why_not_request("pets.requests") == ""
    assert store.dbsize() == 0


def test_a_missing_right_to_the_time_is_reported(redis_url: str, store: Any) -> None:
    with closing(limited(redis_url, store, "+@all", "-time")) as probe:
        assert "time" in probe.why_not_time()
    with closing(limited(redis_url, store, "+time", "-ping")) as probe:
        assert probe.why_not_time() == ""


def test_a_connection_that_a_node_could_not_open_is_reported(redis_url: str, store: Any) -> None:
    with pytest.raises(BackendUnavailableError, match="setname"):
        limited(redis_url, store, "+@all", "-client|setname")
    with pytest.raises(ConfigurationError, match="DB index"):
        Probe(f"{redis_url.rpartition('/')[0]}/9999")


def test_a_key_that_is_not_a_stream_can_not_be_read(redis_url: str, store: Any) -> None:
    store.set("pets", "text")
    with closing(Probe(redis_url)) as probe:
        assert "WRONGTYPE" in probe.why_not_read("pets")
        assert probe.length("pets") == 0


def test_a_server_that_is_away() -> None:
    with pytest.raises(BackendUnavailableError, match=r"u:\*\*\*@127"):
        Probe("redis://u:secret@127.0.0.1:1")
