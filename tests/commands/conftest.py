"""Starting commands as a user does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from broadcaster.client.source import EventSource
from tests.command_line import Start, starting


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts commands; all end with the test."""
    async with starting() as start:
        yield start


async def ids_of(source: EventSource, count: int) -> list[str]:
    found: list[str] = []
    async with aclosing(source.events()) as events:
        async for event in events:
            if not event.type.startswith("stream."):
                found.append(event.id)
                if len(found) == count:
                    break
    return found
