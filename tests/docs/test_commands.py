"""The commands and files of the documents: they print what the pages show, and they work."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response

from broadcaster import Publisher, load_settings
from tests.answers.test_facade import parts, pod, text_of
from tests.clients.browsers import Browser
from tests.docs.terminal import PAGES, ROOT, Terminal, blocks, file_of
from tests.nodes import Raw, running, told
from tests.wait import until

RUN = [page for page in PAGES if any(block.kind == "run" for block in blocks(page))]
"""Each is run by itself, against a server that is empty."""
SHOP = "docs/quickstart.md"
"""The page with the files of an application that mounts the hub."""
CHANNELS = "docs/channels.md"
ANSWERS = "docs/answers.md"
CONFIGURATION = "docs/settings.md"


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on the PATH")
@pytest.mark.parametrize("page", RUN)
async def test_commands_print_what_the_page_shows(page: str, terminal: Terminal) -> None:
    for block in blocks(page):
        if block.kind == "file":
            terminal.write(block.argument, block.text)
            continue
        for text, expected in block.commands():
            command = await terminal.start(text, expected)
            if block.argument == "stays":
                await terminal.until_up(command)
            else:
                await terminal.check(command)
                await command.stop()
    for command in terminal.commands:
        await terminal.check(command)
    assert terminal.commands


async def test_the_page_in_a_browser(terminal: Terminal, redis_url: str, browser: Browser) -> None:
    for name in ("shop.py", "pets.html"):
        terminal.write(name, file_of(SHOP, name))
    await terminal.until_up(await terminal.start("uvicorn shop:app --port 8001", []))
    tab = await browser.tab()
    await tab.open(terminal.ours("http://127.0.0.1:8001/"))
    await tab.sees("feed.readyState === 1")
    await until(lambda: tab.count("li"))  # stream.live
    async with Publisher(redis_url) as publisher:
        data = {"petId": "7", "oldStock": 5, "newStock": 4}
        await publisher.publish("inventory", type="stock-change", key="7", data=data)
    await tab.sees("document.body.innerText.includes('pet 7: 5 to 4')")


class Scripts(HTMLParser):
    """The text of a page's scripts, and the tags that are open."""

    def __init__(self) -> None:
        super().__init__()
        self.script = ""
        self._in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_script = tag == "script"

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        self.script += data if self._in_script else ""


def test_the_page_is_about_ten_lines_of_script() -> None:
    parser = Scripts()
    parser.feed(file_of(SHOP, "pets.html"))
    parser.close()
    assert "new EventSource(" in parser.script
    assert len(parser.script.strip().splitlines()) <= 10
    assert parser.script.count("{") == parser.script.count("}")


def test_the_configuration_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("BROADCASTER_")]:
        monkeypatch.delenv(name)
    path = tmp_path / "hub.toml"
    path.write_text(file_of(CONFIGURATION, "hub.toml"))
    settings = load_settings(path)
    assert "tickets" in settings.channels
    assert settings.channels["tickets"].terminal == {"closed"}
    assert settings.channels["tickets"].maxlen == settings.maxlen


async def test_a_worker_makes_answers(terminal: Terminal, redis_url: str) -> None:
    terminal.write("worker.py", file_of(ANSWERS, "worker.py"))
    worker = await terminal.start(f"env REDIS_URL={redis_url} {sys.executable} worker.py", [])
    async with pod(redis_url) as made:

        @made.app.post("/ask")
        async def ask() -> Response:
            return await made.answers.ask("7", {"text": "why?"})

        found = parts((await made.http.post("/ask")).text)
    await worker.stop()
    assert text_of(found) == "You asked: why?"


async def test_the_worker_answers(tmp_path: Path, redis_url: str) -> None:
    (tmp_path / "hub.toml").write_text(file_of(CONFIGURATION, "hub.toml"))
    channels = load_settings(tmp_path / "hub.toml").channels
    page = (ROOT / CHANNELS).read_text("utf-8")
    (source,) = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(source, names)
    async with (
        Publisher(redis_url, channels=channels) as publisher,
        running(redis_url, channels=channels) as node,
    ):
        worker = asyncio.create_task(names["answer"](publisher))
        stream = await Raw.get(node.port, "/v1/answers/stream?question=why")
        body = await stream.rest()
        assert told(body) == ['{"text":"you asked why"}', '{"total":1}']
        worker.cancel()
        with suppress(asyncio.CancelledError):
            await worker
