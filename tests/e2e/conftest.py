"""Older commits, and a stage for them beside the present one."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broadcaster import connect_sync
from tests.chaos.proxy import Proxy
from tests.command_line import starting
from tests.e2e.versions import OLDER_COMMITS, Front, Stage, Version, unpacked
from tests.wait import PATIENCE_S


def _version(name: str, commit: str, directory: Path, *, stateful: bool = False) -> Version:
    if not unpacked(commit, directory):
        pytest.skip(f"no history: this clone has no commit {commit[:7]}")
    return Version(name, directory, stateful=stateful)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Version:
    """The base, in a directory of its own; skips the test where there is no history."""
    return _version("old", OLDER_COMMITS[0], tmp_path_factory.mktemp("old"))


@pytest.fixture(scope="module")
def recent(tmp_path_factory: pytest.TempPathFactory) -> Version:
    """The recent commit, in the same way; its channels have states."""
    directory = tmp_path_factory.mktemp("recent")
    return _version("recent", OLDER_COMMITS[-1], directory, stateful=True)


@pytest.fixture
async def stage(redis_url: str) -> AsyncIterator[Stage]:
    """An empty Redis; all processes end with the test."""
    with connect_sync(redis_url, timeout_s=PATIENCE_S) as store:
        async with starting(sys.executable, "-P") as start:
            yield Stage(start, redis_url, store)


@pytest.fixture
async def fronts() -> AsyncIterator[tuple[Front, Front]]:
    """Two addresses, without nodes."""
    async with Proxy(("127.0.0.1", 0)) as first, Proxy(("127.0.0.1", 0)) as second:
        yield Front("A", first), Front("B", second)
