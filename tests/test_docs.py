"""The README, run: its commands print what it shows, its files work, its tables are complete.

An HTML comment before a fenced block says what is done with it, in the order of the page:

* `<!-- file: NAME -->`: it is written to the directory in which the commands run;
* `<!-- run -->`: each line that begins with `$ ` is run, and has to print the lines below it;
* `<!-- run: stays -->`: the same, but the command goes on, beside all that follow.

Ids are those of the page's author. They are learnt from what is printed and replaced in later
commands and outputs, so that an id which occurs twice on the page has to occur twice here, too.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
import shlex
import shutil
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.async_api import async_playwright

from broadcaster import Channel, Publisher, Settings, load_settings
from broadcaster.backend.embedded import free_port
from tests.nodes import Raw, running, told
from tests.wait import until

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
CHANNELS = (ROOT / "docs" / "channels.md").read_text("utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
BLOCK = re.compile(r"<!-- (file|run)(?:: (\S+))? -->\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ENTRY_ID = re.compile(r"\b\d{13}-\d+\b")
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
# For machines without Redis's own tools: what redis-cli prints for a command like XADD.
REDIS_CLI = """#!{python}
import sys, redis
with redis.Redis.from_url(sys.argv[2]) as client:
    print(client.execute_command(*sys.argv[3:]).decode())
"""
PATIENCE_S = 15.0


class Block(NamedTuple):
    """A block of the page that something is done with."""

    kind: str
    argument: str
    text: str

    def commands(self) -> list[tuple[str, list[str]]]:
        """Each command with the lines that it prints."""
        found: list[tuple[str, list[str]]] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif found[-1][0].endswith("\\"):
                command, output = found[-1]
                found[-1] = (command[:-1] + line.strip(), output)
            else:
                found[-1][1].append(line)
        return [(command, _without_blank_end(output)) for command, output in found]


def _without_blank_end(lines: list[str]) -> list[str]:
    while lines and not lines[-1]:
        lines = lines[:-1]
    return lines


def blocks() -> list[Block]:
    return [Block(*match.groups(default="")) for match in BLOCK.finditer(README)]


def file(name: str) -> str:
    """The file of this name that the page shows."""
    return next(b.text for b in blocks() if (b.kind, b.argument) == ("file", name))


class Command:
    """A command that runs, and what it has to print."""

    def __init__(self, text: str, process: Process, expected: list[str]) -> None:
        self.text = text
        self.process = process
        self.expected = expected
        self.printed: list[str] = []
        self.checked = False
        self.reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.printed.append(line.decode().rstrip("\r\n"))

    async def prints(self, count: int) -> list[str]:
        """The first lines of its output, once they are there."""
        with suppress(TimeoutError):
            await until(lambda: len(self.printed) >= count or self.reader.done(), PATIENCE_S)
        return self.printed[:count]

    async def stop(self) -> None:
        """End it, if it has not ended by itself."""
        with suppress(ProcessLookupError):
            self.process.terminate()
        async with asyncio.timeout(PATIENCE_S):
            await self.reader
            await self.process.wait()


class Terminal:
    """Runs the page's commands in a directory, against ports of our own."""

    def __init__(self, directory: Path, redis_url: str) -> None:
        self.directory = directory
        self.replaced = {
            "redis://localhost:6379": redis_url,
            "redis-cli ": f"redis-cli -u {redis_url} ",
            **{f":{port}": f":{free_port()}" for port in (8000, 8001)},
        }
        self.replaced["--port 8001"] = f"--port {self.replaced[':8001'][1:]}"
        self.known: dict[str, str] = {}  # ids of the page, and ours in their places
        self.commands: list[Command] = []
        bin_ = directory / "bin"
        bin_.mkdir()
        if not shutil.which("redis-cli"):
            (bin_ / "redis-cli").write_text(REDIS_CLI.format(python=sys.executable))
            (bin_ / "redis-cli").chmod(0o755)
        path = [str(bin_), str(Path(sys.executable).parent), os.environ["PATH"]]
        self.environment = {**os.environ, "PATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"}
        self.environment["BROADCASTER_PORT"] = self.replaced[":8000"][1:]

    def ours(self, text: str) -> str:
        """The same text with our addresses and ids."""
        for theirs, ours in self.replaced.items():
            text = text.replace(theirs, ours)
        return ENTRY_ID.sub(lambda match: self.known.get(match[0], match[0]), text)

    def write(self, name: str, text: str) -> None:
        """Write a file of the page."""
        (self.directory / name).write_text(self.ours(text))

    async def start(self, text: str, expected: list[str]) -> Command:
        """Start a command."""
        process = await asyncio.create_subprocess_exec(
            *shlex.split(self.ours(text)),
            cwd=self.directory, env=self.environment, stdout=PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        self.commands.append(Command(text, process, expected))
        return self.commands[-1]

    async def until_up(self, command: Command) -> None:
        """Wait until a command that stays does what the page's next one relies on."""
        if port := re.search(r"--port (\d+)", self.ours(command.text)):
            await until(lambda: _listens(int(port[1])), PATIENCE_S)
        live = "event: stream.live"
        ready = command.expected.index(live) if live in command.expected else None
        await command.prints(len(command.expected[:ready]) + (ready is not None))

    async def check(self, command: Command) -> None:
        """Compare what a command prints with what the page shows, and learn its ids."""
        if command.checked:
            return
        command.checked = True
        printed = await command.prints(len(command.expected))
        for theirs, ours in zip(command.expected, printed, strict=False):
            ids = zip(ENTRY_ID.findall(theirs), ENTRY_ID.findall(ours), strict=False)
            self.known.update({t: o for t, o in ids if t not in self.known})
        expected = [self.ours(line) for line in command.expected]
        assert _plain(printed) == _plain(expected), f"$ {command.text}"


def _plain(lines: list[str]) -> list[str]:
    return [re.sub(r"^retry: \d+$", "retry: N", line) for line in lines]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
async def terminal(tmp_path: Path, redis_url: str) -> AsyncIterator[Terminal]:
    """A terminal at whose end everything that was started is stopped."""
    terminal = Terminal(tmp_path, redis_url)
    yield terminal
    # The last one first: a node waits for its clients.
    for command in reversed(terminal.commands):
        await command.stop()


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on the PATH")
async def test_commands_print_what_the_page_shows(terminal: Terminal) -> None:
    for block in blocks():
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
    assert len(terminal.commands) > 5


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium or google-chrome on the PATH")
async def test_the_page_in_a_browser(terminal: Terminal, redis_url: str) -> None:
    for name in ("shop.py", "pets.html"):
        terminal.write(name, file(name))
    await terminal.until_up(await terminal.start("uvicorn shop:app --port 8001", []))
    async with (
        async_playwright() as playwright,
        Publisher(redis_url) as publisher,
    ):
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = await browser.new_page()
        await page.goto(terminal.ours("http://127.0.0.1:8001/"))
        await until(lambda: page.evaluate("feed.readyState === 1"), PATIENCE_S)
        await until(lambda: page.locator("li").count(), PATIENCE_S)  # stream.live
        data = {"petId": "7", "oldStock": 5, "newStock": 4}
        await publisher.publish("inventory", type="stock-change", key="7", data=data)
        await until(lambda: page.get_by_text("pet 7: 5 to 4").count(), PATIENCE_S)
        await browser.close()


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
    parser.feed(file("pets.html"))
    parser.close()
    assert "new EventSource(" in parser.script
    assert len(parser.script.strip().splitlines()) <= 10
    assert parser.script.count("{") == parser.script.count("}")


def test_the_configuration_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("BROADCASTER_")]:
        monkeypatch.delenv(name)
    path = tmp_path / "hub.toml"
    path.write_text(file("hub.toml"))
    settings = load_settings(path)
    assert "tickets" in settings.channels
    assert settings.channels["tickets"].terminal == {"closed"}
    assert settings.channels["tickets"].maxlen == settings.maxlen


async def test_the_worker_answers(tmp_path: Path, redis_url: str) -> None:
    (tmp_path / "hub.toml").write_text(file("hub.toml"))
    channels = load_settings(tmp_path / "hub.toml").channels
    (source,) = re.findall(r"^```python\n(.*?)^```$", CHANNELS, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(source, names)
    async with Publisher(redis_url) as publisher, running(redis_url, channels=channels) as node:
        worker = asyncio.create_task(names["answer"](publisher))
        stream = await Raw.get(node.port, "/v1/answers/stream?question=why")
        body = await stream.rest(PATIENCE_S)
        assert told(body) == ['{"text":"you asked why"}', '{"total":1}']
        worker.cancel()
        with suppress(asyncio.CancelledError):
            await worker


def table(page: str, heading: str) -> dict[str, tuple[str, ...]]:
    """The rows below a heading, by the name in their first cell."""
    _, _, rest = page.partition(f"# {heading}\n")
    section = re.split(r"^#+ ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", section, re.MULTILINE)
    return {name: tuple(cell.strip() for cell in cells.split(" | ")) for name, cells in rows}


def test_every_setting_is_documented() -> None:
    fields = Settings.model_fields
    shown = table(README, "Settings")
    assert list(shown) == list(fields)
    for name, field in fields.items():
        default, description = shown[name]
        assert description == field.description, name
        if name != "channels":
            assert default == _default(field.default), name


def test_every_property_of_a_channel_is_documented() -> None:
    fields = {field.name: field for field in dataclasses.fields(Channel)}
    shown = table(CHANNELS, "Properties")
    assert shown.keys() == fields.keys() - {"name"}
    for name, (default, _) in shown.items():
        if name != "path":
            assert default == _default(fields[name].default), name


def _default(value: object) -> str:
    if value in ("", (), frozenset()):
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"`{value}`" if isinstance(value, str) else str(value)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text("utf-8")):
        name, _, anchor = target.partition("#")
        if "://" in target:
            continue
        linked = (page.parent / name) if name else page
        assert linked.exists(), target
        assert not anchor or anchor in _anchors(linked), target


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    mentioned = {
        name for page in PAGES for name in re.findall(r"`make ([\w-]+)", page.read_text("utf-8"))
    }
    assert mentioned <= targets
