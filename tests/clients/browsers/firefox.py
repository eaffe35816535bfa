"""Firefox, by WebDriver BiDi: https://w3c.github.io/webdriver-bidi/.

Firefox speaks it by itself on its debugging port, so that no geckodriver is needed, which Debian
does not have. The tests of one process share it, with a new context for each.
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
from tests.clients.browsers.tab import Browser, Tab
from tests.wait import until_sync

_PROGRAM = next(filter(None, map(shutil.which, ("firefox-esr", "firefox"))), None)
# It asks its maker for nothing: on a machine without the Internet, each question delays its start.
_PREFERENCES = {
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "app.shield.optoutstudies.enabled": False,
    "browser.newtabpage.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage": "about:blank",
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.update.enabled": False,
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
    """It answers a command with an error, or a script throws."""


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
        self._session, self._context = session, context

    async def open(self, url: str) -> None:
        await self._session.command(
            "browsingContext.navigate", context=self._context, url=url, wait="complete"
        )

    async def evaluate(self, expression: str) -> Any:
        answer = await self._session.command(
            "script.evaluate",
            expression=expression,
            target={"context": self._context},
            awaitPromise=False,
        )
        if answer["type"] == "exception":
            raise FirefoxError(answer["exceptionDetails"]["text"])
        return answer["result"].get("value")


class _Firefox(Browser):
    name = "firefox"

    def __init__(self, session: _Session, user: str) -> None:
        self._session, self._user = session, user

    async def tab(self) -> Tab:
        # A window, because timers of a tab in the background run once a second.
        made = await self._session.command(
            "browsingContext.create", type="window", userContext=self._user
        )
        return _Tab(self._session, made["context"])

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
    """Use one that runs, as the only user. Each use has cookies and connections of its own."""
    session = _Session()
    async with talking(f"{address}/session", session.on_event) as session.dialogue:
        await session.command("session.new", capabilities={})
        await session.command("session.subscribe", events=["log.entryAdded"])
        user = (await session.command("browser.createUserContext"))["userContext"]
        try:
            yield _Firefox(session, user)
        finally:
            await session.command("browser.removeUserContext", userContext=user)
            await session.command("session.end")
