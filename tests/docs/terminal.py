"""The commands and files of a page: what they are, and a terminal that runs them.

An HTML comment before a fenced block says what is done with it, in the order of the page:

* `<!-- file: NAME -->`: it is written to the directory in which the commands run;
* `<!-- run -->`: each line that begins with `$ ` is run, and has to print the lines below it;
* `<!-- run: stays -->`: the same, but the command goes on, beside all that follow.

Ids are those of the page's author. They are learnt from what is printed and replaced in later
commands and outputs, so an id that occurs twice on the page has to occur twice here, too.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import socket
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from broadcaster.backend.embedded import free_port
from tests.wait import PATIENCE_S, until

ROOT = Path(__file__).parents[2]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "deploy/kubernetes/README.md",
    *sorted(
        str(path.relative_to(ROOT))
        for path in ROOT.glob("docs/**/*.md")
        if "_build" not in path.parts
    ),
]
"""All documents, by their paths in the repository."""
_BLOCK = re.compile(
    r"<!-- (file|run)(?:: (\S+))? -->\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE
)
_RUN_ID = re.compile(r"\b\d{15,20}-\d{15,20}\b")
_ENTRY_ID = re.compile(r"\b\d{13}-\d+\b")
# For machines without Redis's own tools: what redis-cli prints for a command like XADD.
_REDIS_CLI = """#!{python}
import sys, redis
with redis.Redis.from_url(sys.argv[2]) as client:
    print(client.execute_command(*sys.argv[3:]).decode())
"""


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


def blocks(page: str) -> list[Block]:
    """The marked blocks of a page, which is named by its path in the repository."""
    text = (ROOT / page).read_text("utf-8")
    return [Block(*match.groups(default="")) for match in _BLOCK.finditer(text)]


def file_of(page: str, name: str) -> str:
    """The file of this name that a page shows."""
    return next(b.text for b in blocks(page) if (b.kind, b.argument) == ("file", name))


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
            await until(lambda: len(self.printed) >= count or self.reader.done())
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
        ports = {port: free_port() for port in (8000, 8001, 8002, 8003)}
        self.replaced = {
            "redis://localhost:6379": redis_url,
            "redis-cli ": f"redis-cli -u {redis_url} ",
            **{f":{theirs}": f":{ours}" for theirs, ours in ports.items()},
            **{f"--port {theirs}": f"--port {ours}" for theirs, ours in ports.items()},
        }
        self.known: dict[str, str] = {}  # ids of the page, and ours in their places
        self.commands: list[Command] = []
        bin_ = directory / "bin"
        bin_.mkdir()
        if not shutil.which("redis-cli"):
            (bin_ / "redis-cli").write_text(_REDIS_CLI.format(python=sys.executable))
            (bin_ / "redis-cli").chmod(0o755)
        path = [str(bin_), str(Path(sys.executable).parent), os.environ["PATH"]]
        self.environment = {**os.environ, "PATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"}
        self.environment["BROADCASTER_PORT"] = str(ports[8000])

    def ours(self, text: str) -> str:
        """The same text with our addresses and ids."""
        for theirs, ours in self.replaced.items():
            text = text.replace(theirs, ours)
        return _ENTRY_ID.sub(lambda match: self.known.get(match[0], match[0]), text)

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

    async def until_up(self, command: Command, port: int | None = None) -> None:
        """Wait until a command that stays does what the page's next one relies on.

        Args:
            command: that was started.
            port: of the page, where it listens, if the command does not name one.
        """
        named = f"--port {port}" if port else command.text
        if found := re.search(r"--port (\d+)", self.ours(named)):
            await until(lambda: _listens(int(found[1])))
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
            ids = zip(_ENTRY_ID.findall(theirs), _ENTRY_ID.findall(ours), strict=False)
            self.known.update({t: o for t, o in ids if t not in self.known})
        expected = [self.ours(line) for line in command.expected]
        assert _plain(printed) == _plain(expected), f"$ {command.text}\n{printed}"


def _plain(lines: list[str]) -> list[str]:
    lines = [re.sub(r"^retry: \d+$", "retry: N", line) for line in lines]
    return [_RUN_ID.sub("RUN", line) for line in lines]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
