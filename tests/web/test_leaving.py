"""A client that leaves is noticed while there is something to wait for."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request

from broadcaster.web.leaving import Leaving
from tests.wait import until


async def test_what_comes_before_the_end_of_the_connection_is_passed_over() -> None:
    received = asyncio.Queue[dict[str, Any]]()
    woken = asyncio.Event()
    leaving = Leaving(Request({"type": "http"}, received.get), woken.set)
    await leaving.stop()
    leaving.watch()
    leaving.watch()
    received.put_nowait({"type": "http.request"})
    await until(received.empty)
    assert not leaving.left
    received.put_nowait({"type": "http.disconnect"})
    await woken.wait()
    await until(lambda: leaving.left)
    await leaving.stop()
