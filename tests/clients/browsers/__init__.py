"""Real browsers behind one interface: Chromium, Firefox and WebKit.

A test takes the fixture `browser`, and then runs once in each of them. Where a browser is not
installed, its tests are skipped. No test sees what another one has left behind.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.clients.browsers import chromium, firefox, webkit
from tests.clients.browsers.tab import Browser, Tab

__all__ = ["Browser", "Tab", "firefox", "launched", "missing"]

_KINDS = {"chromium": chromium, "firefox": firefox, "webkit": webkit}


def missing(name: str) -> str:
    """Return what this machine lacks for a browser, or an empty text."""
    lack: str = _KINDS[name].missing()
    return lack


@asynccontextmanager
async def launched(name: str, directory: Path) -> AsyncIterator[Browser]:
    """Run a browser without a screen until the block is left.

    Args:
        name: one of `chromium`, `firefox` and `webkit`.
        directory: an empty one, for its profile.
    """
    async with _KINDS[name].launched(directory) as browser:
        yield browser
