"""Tabs of a real browser that watch `readyState`: CLOSED must never happen."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.clients import browsers

NAME = "chromium"
# CLOSED (2) is for good: the browser never connects again. A tab polls beside the error event, for
# it must not miss anything.
_WATCH = """(url) => {
  const seen = window.seen = { closed: 0, opened: 0, errors: 0, events: 0 };
  const source = new EventSource(url);
  const look = () => { if (source.readyState === EventSource.CLOSED) seen.closed += 1; };
  source.addEventListener("open", () => { seen.opened += 1; });
  source.addEventListener("error", () => { seen.errors += 1; look(); });
  for (const type of ["message", "t0", "t1", "t2", "stream.at", "stream.live", "stream.reset"])
    source.addEventListener(type, () => { seen.events += 1; });
  setInterval(look, 50);
}"""


class Tabs:
    """Open tabs, each with an `EventSource`."""

    def __init__(self, pages: list[browsers.Tab]) -> None:
        self._pages = pages

    async def seen(self) -> list[dict[str, int]]:
        """The counts of each of them: `closed`, `opened`, `errors` and `events`."""
        return [await page.value("seen") for page in self._pages]

    async def all_open(self) -> bool:
        """Return True if each has been connected at least once."""
        found = [await page.value("seen.opened") for page in self._pages]
        return all(found)


@asynccontextmanager
async def tabs(base: str, path: str, count: int) -> AsyncIterator[Tabs]:
    """Open tabs of one page; a browser has six connections per host.

    Args:
        base: where the hub is; its `/healthz` is the page, which makes it the same origin.
        path: of the event stream.
        count: of tabs, at most five.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        async with browsers.launched(NAME, Path(profile)) as browser:
            pages = []
            for _ in range(count):
                page = await browser.tab()
                await page.open(f"{base}/healthz")
                await page.run(_WATCH, f"{base}{path}")
                pages.append(page)
            yield Tabs(pages)
