"""Firefox, by WebDriver BiDi: https://w3c.github.io/webdriver-bidi/.

Firefox speaks it by itself on its debugging port, so that no geckodriver is needed, which Debian
does not have. The tests of one process share it, and its windows: a new one, with a process for its
page, costs a second of a CPU.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from tests.clients.browsers.dialogue import Dialogue, talking
from tests.clients.browsers.process import ended_group
from tests.clients.browsers.tab import Browser, ScriptError, Tab
from tests.wait import until_sync

_PROGRAM = next(filter(None, map(shutil.which, ("firefox-esr", "firefox"))), None)
# It asks its maker for nothing: on a machine without the Internet, each question delays its start.
_PREFERENCES = {
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "app.shield.optoutstudies.enabled": False,
    "browser.newtabpage.enabled": False,
    "browser.pagethumbnails.capturing_disabled": True,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.sessionhistory.max_total_viewers": 0,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage": "about:blank",
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "dom.ipc.processCount": 1,
    "dom.ipc.processPrelaunch.enabled": False,
    "extensions.update.enabled": False,
    "fission.autostart": False,
    "fission.bfcacheInParent": False,
    "messaging-system.rsexperimentloader.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.proxy.type": 0,
    "services.settings.server": "http://127.0.0.1:9/",
    "toolkit.telemetry.enabled": False,
}


def missing() -> str:
    """Return what this machine lacks, or an empty text."""
    return "" if _PROGRAM else "neither firefox-esr nor firefox is on the PATH"


class FirefoxError(Exception):
    """It answers a command with an error."""


class _Session:
    """Sends commands, and keeps what the pages complain about."""

    def __init__(self) -> None:
        self.dialogue: Dialogue | None = None
        self.complaints: list[str] = []

    def on_event(self, event: dict[str, Any]) -> None:
        """Take an event of a page."""
        entry = event["params"]
        if entry.get("level") in ("error", "warn"):
            self.complaints.append(entry["text"])

    async def command(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        assert self.dialogue
        answer = await self.dialogue.ask(method=method, params=params)
        if answer["type"] == "error":
            raise FirefoxError(f"{method}: {answer['message']}")
        result: dict[str, Any] = answer["result"]
        return result


class _Tab(Tab):
    def __init__(self, session: _Session, context: str) -> None:
        self._session, self.context = session, context

    async def open(self, url: str) -> None:
        await self._session.command(
            "browsingContext.navigate", context=self.context, url=url, wait="complete"
        )

    async def evaluate(self, expression: str) -> Any:
        answer = await self._session.command(
            "script.evaluate",
            expression=expression,
            target={"context": self.context},
            awaitPromise=False,
        )
        if answer["type"] == "exception":
            raise ScriptError(answer["exceptionDetails"]["text"])
        return answer["result"].get("value")


class _Firefox(Browser):
    name = "firefox"

    def __init__(self, session: _Session) -> None:
        self._session = session
        self._tabs: list[_Tab] = []

    async def tab(self) -> Tab:
        used = [tab.context for tab in self._tabs]
        there = (await self._session.command("browsingContext.getTree", maxDepth=0))["contexts"]
        free = [one["context"] for one in there if one["context"] not in used]
        # A window, because timers of a tab in the background run once a second.
        made = free[:1] or [
            (await self._session.command("browsingContext.create", type="window"))["context"]
        ]
        self._tabs.append(_Tab(self._session, made[0]))
        return self._tabs[-1]

    async def close(self) -> None:
        """Leave one window, with an empty page, and no cookies."""
        for tab in self._tabs[1:]:
            await self._session.command("browsingContext.close", context=tab.context)
        for tab in self._tabs[:1]:
            await tab.open("about:blank")
        await self._session.command("storage.deleteCookies")

    async def complaints(self) -> list[str]:
        await self._session.command("session.status")  # what was written before has come then
        return list(self._session.complaints)


@contextmanager
def started(directory: Path) -> Iterator[str]:
    """Run it until the block is left; yield the address where it listens."""
    lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});\n" for k, v in _PREFERENCES.items()]
    (directory / "user.js").write_text("".join(lines))
    flags = ("--headless", "--no-remote", "--profile", str(directory))
    command = (_PROGRAM or "", *flags, "--remote-debugging-port", "0")
    log = directory / "log"
    with ended_group(*command, log=log):
        found = until_sync(lambda: re.search(r"listening on (ws://\S+)\n", log.read_text("utf-8")))
        yield found[1] if found else ""


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Browser]:
    """Use one that runs, as the only user. Its tabs are closed at the end, without their cookies.

    What else a page can store is stored for its origin, and each server of a test has a port of its
    own.
    """
    session = _Session()
    async with talking(f"{address}/session", session.on_event) as session.dialogue:
        await session.command("session.new", capabilities={})
        await session.command("session.subscribe", events=["log.entryAdded"])
        session.complaints.clear()  # those of the page that was open before
        browser = _Firefox(session)
        try:
            yield browser
        finally:
            await browser.close()
            await session.command("session.end")
