"""The terminal in which the commands of the documents run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.docs.terminal import Terminal


@pytest.fixture
async def terminal(tmp_path: Path, redis_url: str) -> AsyncIterator[Terminal]:
    """A terminal at whose end everything that was started is stopped."""
    terminal = Terminal(tmp_path, redis_url)
    yield terminal
    # The last one first: a node waits for its clients.
    for command in reversed(terminal.commands):
        await command.stop()
