"""Tabs of a real Chromium that watch `readyState`: CLOSED must never happen."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Page, async_playwright

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
_FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-quic")
_TIMEOUT_MS = 20_000
# CLOSED (2) is for good: the browser never connects again. A tab polls beside the error event, for
# it must not miss anything.
_WATCH = """(url) => {
  const seen = window.seen = { closed: 0, opened: 0, errors: 0, events: 0 };
  const source = new EventSource(url);
  const look = () => { if (source.readyState === EventSource.CLOSED) seen.closed += 1; };
  source.addEventListener("open", () => { seen.opened += 1; });
  source.addEventListener("error", () => { seen.errors += 1; look(); });
  for (const type of ["message", "t0", "t1", "t2", "stream.live", "stream.reset"])
    source.addEventListener(type, () => { seen.events += 1; });
  setInterval(look, 50);
}"""


class Tabs:
    """Open tabs, each with an `EventSource`."""

    def __init__(self, pages: list[Page]) -> None:
        self._pages = pages

    async def seen(self) -> list[dict[str, int]]:
        """The counts of each of them: `closed`, `opened`, `errors` and `events`."""
        return [await page.evaluate("window.seen") for page in self._pages]

    async def all_open(self) -> bool:
        """Return True if each has been connected at least once."""
        found = [await page.evaluate("window.seen.opened") for page in self._pages]
        return all(found)


@asynccontextmanager
async def tabs(base: str, path: str, count: int) -> AsyncIterator[Tabs]:
    """Open tabs of one page; a browser has six connections per host.

    Args:
        base: where the hub is; its `/healthz` is the page, which makes it the same origin.
        path: of the event stream.
        count: of tabs, at most five.
    """
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, headless=True, args=list(_FLAGS)
        )
        try:
            context = await browser.new_context()
            pages = []
            for _ in range(count):
                page = await context.new_page()
                await page.goto(f"{base}/healthz", timeout=_TIMEOUT_MS)
                await page.evaluate(_WATCH, f"{base}{path}")
                pages.append(page)
            yield Tabs(pages)
        finally:
            await browser.close()
