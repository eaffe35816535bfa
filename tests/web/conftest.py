"""These tests run on uvloop, as nodes do in production."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import httpx
import pytest

from tests.loops import CheckedLoop
from tests.nodes import Running
from tests.wait import http_client


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop of every test in this folder."""
    return {"uvloop": CheckedLoop}


@pytest.fixture
async def http(hub: Running) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the node that a module has as its `hub`."""
    async with http_client(base_url=hub.url) as made:
        yield made
