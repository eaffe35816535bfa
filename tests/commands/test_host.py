"""The demands of a serving process: a port, open files, fewer garbage collections."""

from __future__ import annotations

import gc
import resource
import signal
import socket
import sys
from collections.abc import Iterator

import pytest

from broadcaster.commands import host
from broadcaster.errors import ConfigurationError

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone shares ports fairly")


def port_of(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


@pytest.mark.server
def test_a_free_port_can_be_connected_to_at_once() -> None:
    (listening,) = host.listen("127.0.0.1", 0)
    with listening, socket.create_connection(("127.0.0.1", port_of(listening))):
        pass


@pytest.mark.server
@linux
def test_several_sockets_share_a_port() -> None:
    sockets = host.listen("127.0.0.1", 0, count=3)
    assert len({port_of(sock) for sock in sockets}) == 1
    assert len({sock.fileno() for sock in sockets}) == 3
    for sock in sockets:
        sock.close()


@pytest.mark.server
@pytest.mark.parametrize("count", [1, 2])
def test_a_port_in_use_is_an_error_that_says_so(count: int) -> None:
    (listening,) = host.listen("127.0.0.1", 0)
    with listening, pytest.raises(ConfigurationError, match=f"port {port_of(listening)} of"):
        host.listen("127.0.0.1", port_of(listening), count)


@pytest.mark.server
@pytest.mark.parametrize("name", ["no.such.host.invalid", "192.0.2.1", "a" * 300])
def test_an_address_that_cannot_be_used_is_an_error(name: str) -> None:
    with pytest.raises(ConfigurationError, match="can't listen on"):
        host.listen(name, 0)


@pytest.mark.server
def test_a_url_leads_to_the_socket_wherever_it_listens() -> None:
    for address, shown in (("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1")):
        (listening,) = host.listen(address, 0)
        with listening:
            assert host.url_of(listening) == f"http://{shown}:{port_of(listening)}"


@pytest.fixture
def limits() -> Iterator[tuple[int, int]]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_as_many_files_as_are_allowed_may_be_open(limits: tuple[int, int]) -> None:
    _, hard = limits
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
    host.raise_file_limit()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)


def test_a_hangup_that_is_ignored_is_left_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert host.stop_signals() == [signal.SIGINT, signal.SIGTERM]
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        assert host.stop_signals() == [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_collector_runs_less_often_and_skips_existing_objects() -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    try:
        host.calm_garbage_collection()
        assert gc.get_threshold() > before
        assert gc.get_freeze_count() > frozen
    finally:
        gc.set_threshold(*before)
