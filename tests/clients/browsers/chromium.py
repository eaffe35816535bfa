"""Chromium, by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import BrowserContext, ConsoleMessage, Page, async_playwright

from tests.clients.browsers.tab import Browser, Tab

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_PROGRAM = next(filter(None, map(shutil.which, _NAMES)), None)
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
)


def missing() -> str:
    """Return what this machine lacks, or an empty text."""
    return "" if _PROGRAM else f"none of {', '.join(_NAMES)} is on the PATH"


class _Tab(Tab):
    def __init__(self, page: Page) -> None:
        self._page = page

    async def open(self, url: str) -> None:
        await self._page.goto(url)

    async def evaluate(self, expression: str) -> Any:
        return await self._page.evaluate(expression)


class _Chromium(Browser):
    name = "chromium"

    def __init__(self, context: BrowserContext) -> None:
        self._context = context
        self._complaints: list[str] = []

    async def tab(self) -> Tab:
        page = await self._context.new_page()
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self._complaints.append(str(error)))
        return _Tab(page)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._complaints.append(message.text)

    async def complaints(self) -> list[str]:
        return list(self._complaints)


@asynccontextmanager
async def launched(directory: Path) -> AsyncIterator[Browser]:
    """Run it until the block is left."""
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            directory, executable_path=_PROGRAM, args=_FLAGS
        )
        try:
            yield _Chromium(context)
        finally:
            await context.close()
