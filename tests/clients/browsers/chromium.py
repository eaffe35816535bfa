"""Chromium, by its DevTools protocol: https://chromedevtools.github.io/devtools-protocol/.

The tests of one process share it, and its windows: a new one, with a process for its page, costs
most of a second of a CPU.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from tests.clients.browsers.dialogue import Dialogue, talking
from tests.clients.browsers.process import ended_group
from tests.clients.browsers.tab import Browser, ScriptError, Tab
from tests.wait import until, until_sync

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_PROGRAM = next(filter(None, map(shutil.which, _NAMES)), None)
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-features=BackForwardCache,SpareRendererForSitePerProcess",
    "--disable-quic",
    "--disable-renderer-backgrounding",
    "--disable-site-isolation-trials",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--password-store=basic",
    "--remote-debugging-port=0",
    "--renderer-process-limit=1",
)


def missing() -> str:
    """Return what this machine lacks, or an empty text."""
    return "" if _PROGRAM else f"none of {', '.join(_NAMES)} is on the PATH"


class ChromiumError(Exception):
    """It answers a command with an error."""


class _Session:
    """Sends commands, and keeps what the pages load and complain about."""

    def __init__(self) -> None:
        self.dialogue: Dialogue | None = None
        self.loaded: set[str] = set()
        self.complaints: list[str] = []

    def on_event(self, event: dict[str, Any]) -> None:
        """Take an event of a page."""
        params = event["params"]
        match event["method"]:
            case "Page.lifecycleEvent" if params["name"] == "load":
                self.loaded.add(params["loaderId"])
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.complaints.append(params["entry"]["text"])
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning"):
                said = (str(what.get("value", what.get("description"))) for what in params["args"])
                self.complaints.append(" ".join(said))
            case "Runtime.exceptionThrown":
                self.complaints.append(_reason(params["exceptionDetails"]))

    async def command(self, method: str, page: str = "", **params: Any) -> dict[str, Any]:
        """Send a command to the browser or to a page, and return its result."""
        assert self.dialogue
        where = {"sessionId": page} if page else {}
        answer = await self.dialogue.ask(method=method, params=params, **where)
        if "error" in answer:
            raise ChromiumError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result


def _reason(details: dict[str, Any]) -> str:
    return str(details.get("exception", {}).get("description", details["text"]))


class _Tab(Tab):
    def __init__(self, session: _Session, target: str, page: str) -> None:
        self._session, self._page = session, page
        self.target = target

    async def open(self, url: str) -> None:
        begun = await self._session.command("Page.navigate", self._page, url=url)
        if "errorText" in begun:
            raise ChromiumError(f"{url}: {begun['errorText']}")
        await until(lambda: begun["loaderId"] in self._session.loaded)

    async def evaluate(self, expression: str) -> Any:
        answer = await self._session.command(
            "Runtime.evaluate", self._page, expression=expression, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise ScriptError(_reason(answer["exceptionDetails"]))
        return answer["result"].get("value")

    async def slow_down(self, bytes_s: int) -> None:
        await self._session.command("Network.enable", self._page)
        await self._session.command(
            "Network.emulateNetworkConditions",
            self._page,
            offline=False,
            latency=0,
            downloadThroughput=bytes_s,
            uploadThroughput=-1,
        )

    async def clear(self) -> None:
        """Leave an empty page, and forget what the browser keeps of complaints."""
        await self.open("about:blank")
        await self._session.command("Log.clear", self._page)
        await self._session.command("Runtime.discardConsoleEntries", self._page)


class _Chromium(Browser):
    name = "chromium"

    def __init__(self, session: _Session) -> None:
        self._session = session
        self._tabs: list[_Tab] = []

    async def tab(self) -> Tab:
        target = await self._free() or await self._window()
        attached = await self._session.command(
            "Target.attachToTarget", targetId=target, flatten=True
        )
        page = attached["sessionId"]
        for method in ("Page.enable", "Runtime.enable", "Log.enable"):
            await self._session.command(method, page)
        await self._session.command("Page.setLifecycleEventsEnabled", page, enabled=True)
        self._tabs.append(_Tab(self._session, target, page))
        return self._tabs[-1]

    async def _free(self) -> str:
        used = [tab.target for tab in self._tabs]
        there = (await self._session.command("Target.getTargets"))["targetInfos"]
        pages = (one["targetId"] for one in there if one["type"] == "page")
        return next((target for target in pages if target not in used), "")

    async def _window(self) -> str:
        # A window, because a tab in the background is hidden.
        made = await self._session.command("Target.createTarget", url="about:blank", newWindow=True)
        return str(made["targetId"])

    async def close(self) -> None:
        """Leave one window, with an empty page, and no cookies."""
        for tab in self._tabs[1:]:
            await self._session.command("Target.closeTarget", targetId=tab.target)
        for tab in self._tabs[:1]:
            await tab.clear()
        await self._session.command("Storage.clearCookies")

    async def complaints(self) -> list[str]:
        await self._session.command("Browser.getVersion")  # what was written before has come then
        return list(self._session.complaints)


@contextmanager
def started(directory: Path) -> Iterator[str]:
    """Run it until the block is left; yield the address where it listens."""
    log = directory / "log"
    with ended_group(_PROGRAM or "", *_FLAGS, f"--user-data-dir={directory}", log=log):
        found = until_sync(lambda: re.search(r"listening on (ws://\S+)\n", log.read_text("utf-8")))
        yield found[1] if found else ""


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Browser]:
    """Use one that runs, as the only user. Its tabs are closed at the end, without their cookies.

    What else a page can store is stored for its origin, and each server of a test has a port of its
    own.
    """
    session = _Session()
    async with talking(address, session.on_event) as session.dialogue:
        browser = _Chromium(session)
        try:
            yield browser
        finally:
            await browser.close()
