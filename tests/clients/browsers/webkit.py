"""WebKitGTK's own small browser, by WebDriver: https://www.w3.org/TR/webdriver2/.

Its driver tells nothing of the console, so the page collects its complaints from the moment when it
is loaded. Complaints while it loads are seen in the other two browsers only.
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
from tests.clients.browsers.tab import Browser, Tab
from tests.wait import http_client, until, until_sync

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
    """The driver answers a command with an error, or a script throws."""


class _Session:
    """Sends commands. The driver has one current window, so each command chooses its own."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._path = "/session"
        self._one_by_one = asyncio.Lock()

    async def begin(self) -> None:
        """Start the browser."""
        options = {"binary": str(_BROWSER), "args": ["--automation"]}
        asked = {"alwaysMatch": {"webkitgtk:browserOptions": options}}
        begun = await self._post("", capabilities=asked)
        self._path += f"/{begun['sessionId']}"

    async def command(self, window: str, path: str, **params: Any) -> Any:
        """Send a command to a window and return its value."""
        async with self._one_by_one:
            await self._post("/window", handle=window)
            return await self._post(path, **params)

    async def new_window(self) -> str:
        """Open a window; return its name."""
        async with self._one_by_one:
            return str((await self._post("/window/new", type="window"))["handle"])

    async def _post(self, path: str, **params: Any) -> Any:
        answer = (await self._http.post(self._path + path, json=params)).json()["value"]
        if isinstance(answer, dict) and "error" in answer:
            raise WebKitError(f"{path or 'session'}: {answer['error']}: {answer['message']}")
        return answer


class _Tab(Tab):
    def __init__(self, session: _Session, window: str) -> None:
        self._session, self._window = session, window
        self._seen: list[str] = []

    async def open(self, url: str) -> None:
        await self.complaints()
        await self._session.command(self._window, "/url", url=url)
        await self.run(_COLLECT)

    async def evaluate(self, expression: str) -> Any:
        return await self._session.command(
            self._window, "/execute/sync", script=f"return {expression};", args=[]
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


@asynccontextmanager
async def launched(directory: Path) -> AsyncIterator[Browser]:
    """Run it until the block is left."""
    port = free_port()
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
        command = ("WebKitWebDriver", "--host=127.0.0.1", f"--port={port}")
        with ended_group(*command, env=environment, log=directory / "log"):
            async with http_client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
                session = _Session(http)
                await until(lambda: _answers(http))
                await session.begin()
                yield _WebKit(session)


@contextmanager
def _display(log: Path) -> Iterator[str]:
    """Run an X server without a screen, which chooses a free number and prints it."""
    flags = ("-displayfd", "1", "-screen", "0", "1280x1024x24", "-nolisten", "tcp")
    with ended_group("Xvfb", *flags, log=log):
        found = until_sync(lambda: re.search(r"^(\d+)\n", log.read_text("utf-8"), re.MULTILINE))
        yield f":{found[1]}" if found else ""


async def _answers(http: httpx.AsyncClient) -> bool:
    with suppress(httpx.TransportError):
        return (await http.get("/status")).is_success
    return False
