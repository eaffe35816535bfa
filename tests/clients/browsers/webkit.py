"""WebKitGTK's own small browser, by WebDriver: https://www.w3.org/TR/webdriver2/.

Its driver tells nothing of the console, so the page collects its complaints from the moment when it
is loaded. Complaints while it loads are seen in the other two browsers only. The tests of one
process share a browser, with new windows for each.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from broadcaster.backend.embedded import free_port
from tests.clients.browsers.process import ended_group
from tests.clients.browsers.tab import Browser, ScriptError, Tab
from tests.wait import PATIENCE_S, http_client, until_sync

_BROWSER = max(Path("/usr/lib").glob("*/webkit2gtk-4.*/MiniBrowser"), default=None)
_COLLECT = """() => {
  const complaints = window.complaints = [];
  addEventListener("error", (event) => complaints.push(event.message));
  addEventListener("unhandledrejection", (event) => complaints.push(String(event.reason)));
  addEventListener("securitypolicyviolation", (event) => complaints.push(
    `${event.violatedDirective} forbids ${event.blockedURI}`));
  for (const level of ["error", "warn"]) {
    const write = console[level];
    console[level] = (...what) => { complaints.push(what.join(" ")); write(...what); };
  }
}"""


def missing() -> str:
    """Return what this machine lacks, or an empty text."""
    programs = [name for name in ("WebKitWebDriver", "Xvfb") if shutil.which(name) is None]
    if programs:
        return f"not on the PATH: {', '.join(programs)}"
    return "" if _BROWSER else "WebKitGTK's MiniBrowser is not installed"


class WebKitError(Exception):
    """The driver answers a command with an error."""


class _Session:
    """Sends commands. The driver has one current window, so each command chooses its own."""

    def __init__(self, http: httpx.AsyncClient, first: str) -> None:
        self._http = http
        self._first = first
        self._one_by_one = asyncio.Lock()

    async def command(self, window: str, path: str, **params: Any) -> Any:
        """Send a command to a window and return its value."""
        async with self._one_by_one:
            await self._ask("POST", "/window", handle=window)
            return await self._ask("POST", path, **params)

    async def new_window(self) -> str:
        """Open a window; return its name."""
        return str((await self.command(self._first, "/window/new", type="window"))["handle"])

    async def close(self, window: str) -> None:
        """Close a window, and forget the cookies that its page can have."""
        async with self._one_by_one:
            await self._ask("POST", "/window", handle=window)
            await self._ask("DELETE", "/cookie")
            await self._ask("DELETE", "/window")

    async def _ask(self, method: str, path: str, **params: Any) -> Any:
        body = params if method == "POST" else None
        return _value(await self._http.request(method, path, json=body))


def _value(response: httpx.Response) -> Any:
    answer = response.json()["value"]
    if isinstance(answer, dict) and "error" in answer:
        if answer["error"] == "javascript error":
            raise ScriptError(answer["message"])
        raise WebKitError(f"{response.url.path}: {answer['error']}: {answer['message']}")
    return answer


class _Tab(Tab):
    def __init__(self, session: _Session, window: str) -> None:
        self._session, self.window = session, window
        self._seen: list[str] = []

    async def open(self, url: str) -> None:
        await self.complaints()
        await self._session.command(self.window, "/url", url=url)
        await self.run(_COLLECT)

    async def evaluate(self, expression: str) -> Any:
        return await self._session.command(
            self.window, "/execute/sync", script=f"return {expression};", args=[]
        )

    async def complaints(self) -> list[str]:
        """Take over what the page has collected, before it goes."""
        self._seen += await self.value("(window.complaints ?? []).splice(0)")
        return self._seen


class _WebKit(Browser):
    name = "webkit"

    def __init__(self, session: _Session) -> None:
        self._session = session
        self._tabs: list[_Tab] = []

    async def tab(self) -> Tab:
        self._tabs.append(_Tab(self._session, await self._session.new_window()))
        return self._tabs[-1]

    async def complaints(self) -> list[str]:
        return [text for tab in self._tabs for text in await tab.complaints()]

    async def close(self) -> None:
        """Close all tabs."""
        for tab in self._tabs:
            await self._session.close(tab.window)


@contextmanager
def started(directory: Path) -> Iterator[str]:
    """Run it until the block is left; yield the address of its session and its first window."""
    url = f"http://127.0.0.1:{free_port()}"
    with _display(directory / "display") as display:
        environment = {
            **os.environ,
            "DISPLAY": display,
            "GDK_BACKEND": "x11",
            "HOME": str(directory),
            **{f"XDG_{kind}_HOME": str(directory) for kind in ("CACHE", "CONFIG", "DATA")},
            "LIBGL_ALWAYS_SOFTWARE": "1",
            "NO_AT_BRIDGE": "1",
            "WEBKIT_DISABLE_COMPOSITING_MODE": "1",
        }
        command = ("WebKitWebDriver", "--host=127.0.0.1", f"--port={url.rpartition(':')[2]}")
        with (
            ended_group(*command, env=environment, log=directory / "log"),
            httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False) as http,
        ):
            until_sync(lambda: _answers(http))
            options = {"binary": str(_BROWSER), "args": ["--automation"]}
            asked = {"capabilities": {"alwaysMatch": {"webkitgtk:browserOptions": options}}}
            session = f"/session/{_value(http.post('/session', json=asked))['sessionId']}"
            yield f"{url}{session}#{_value(http.get(session + '/window'))}"


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Browser]:
    """Use one that runs, as the only user. Its tabs are closed at the end, without their cookies.

    What else a page can store is stored for its origin, and each server of a test has a port of its
    own.
    """
    session, _, first = address.partition("#")
    async with http_client(base_url=session, trust_env=False) as http:
        browser = _WebKit(_Session(http, first))
        try:
            yield browser
        finally:
            await browser.close()


@contextmanager
def _display(log: Path) -> Iterator[str]:
    """Run an X server without a screen, which chooses a free number and prints it."""
    flags = ("-displayfd", "1", "-screen", "0", "1280x1024x24", "-nolisten", "tcp")
    with ended_group("Xvfb", *flags, log=log):
        found = until_sync(lambda: re.search(r"^(\d+)\n", log.read_text("utf-8"), re.MULTILINE))
        yield f":{found[1]}" if found else ""


def _answers(http: httpx.Client) -> bool:
    with suppress(httpx.TransportError):
        return http.get("/status").is_success
    return False
