"""A test that leaves something open fails, and the tests go on."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.loops import CheckedLoop


def test_what_is_open_at_the_end_is_closed_and_named() -> None:
    loop = CheckedLoop()
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    loop.run_until_complete(loop.create_server(asyncio.Protocol, sock=listener))
    with pytest.raises(AssertionError, match="TCPServer"):
        loop.close()
    assert loop.is_closed()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


def test_a_loop_without_anything_open_is_closed() -> None:
    loop = CheckedLoop()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert loop.is_closed()
