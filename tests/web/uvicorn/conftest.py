"""A node that speaks TLS, its files, and two authorities."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.nodes import Running, running
from tests.tls import Authority, Files


@pytest.fixture(scope="session")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Authority]:
    directory = tmp_path_factory.mktemp("authorities")
    return Authority(directory / "old", "old"), Authority(directory / "new", "new")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
def trust(files: Files, authorities: tuple[Authority, Authority]) -> ssl.SSLContext:
    return files.use(authorities[0])


@pytest.fixture
async def secure_hub(redis_url: str, files: Files, trust: ssl.SSLContext) -> AsyncIterator[Running]:
    async with running(redis_url, **files.settings) as node:
        yield node
