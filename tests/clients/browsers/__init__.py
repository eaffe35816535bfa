"""Real browsers behind one interface: Chromium, Firefox and WebKit.

A test takes the fixture `browser`, and then runs once in each of them. Where a browser is not
installed, its tests are skipped. No test sees what another one has left behind.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from pathlib import Path

from tests.clients.browsers import chromium, firefox, webkit
from tests.clients.browsers.tab import Browser, Tab

__all__ = ["Browser", "Tab", "connected", "launched", "missing", "started"]

_KINDS = {"chromium": chromium, "firefox": firefox, "webkit": webkit}


def missing(name: str) -> str:
    """Return what this machine lacks for a browser, or an empty text."""
    lack: str = _KINDS[name].missing()
    return lack


def started(name: str, directory: Path) -> AbstractContextManager[str]:
    """Run a browser without a screen until the block is left; yield its address.

    Args:
        name: one of `chromium`, `firefox` and `webkit`.
        directory: an empty one, for its profile.
    """
    running: AbstractContextManager[str] = _KINDS[name].started(directory)
    return running


def connected(name: str, address: str) -> AbstractAsyncContextManager[Browser]:
    """Use a browser that runs, as its only user, until the block is left."""
    used: AbstractAsyncContextManager[Browser] = _KINDS[name].connected(address)
    return used


@asynccontextmanager
async def launched(name: str, directory: Path) -> AsyncIterator[Browser]:
    """Run a browser and use it, until the block is left. The arguments are those of `started`."""
    with started(name, directory) as address:
        async with connected(name, address) as browser:
            yield browser
