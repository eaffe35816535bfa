"""`broadcaster demo` as a user runs it: it leaves nothing behind."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from broadcaster.client.source import EventSource
from tests.command_line import Start, none_alive
from tests.commands.conftest import ids_of
from tests.wait import until

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def family(pid: int) -> dict[int, str]:
    """A process and all that descend from it: their ids, with the beginnings of their commands."""
    parents, commands = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            commands[int(path.name)] = (path / "cmdline").read_text().replace("\0", " ")
    members = {pid}
    while found := {child for child, parent in parents.items() if parent in members} - members:
        members |= found
    return {member: commands[member] for member in members}


@linux
async def test_the_demo_shows_events_and_leaves_nothing_behind(start: Start) -> None:
    demo = await start("demo", "--port", "0")
    url = (await demo.line("The page")).split()[2].rstrip("/")
    assert len(await ids_of(EventSource(f"{url}/v1/inventory/stream"), 3)) == 3
    curl = (await demo.line("One order")).split()[-1]
    assert await ids_of(EventSource(curl), 1)
    await demo.line("clients 0  events/s ")
    members = family(demo.process.pid)
    assert len(members) == 6  # itself, Valkey, four workers
    (worker,) = [pid for pid, command in members.items() if "workers orders" in command]
    os.kill(worker, signal.SIGKILL)
    await demo.line("worker orders was ended by SIGKILL")
    assert await demo.stop(signal.SIGINT) == 0
    assert "Traceback" not in "".join(demo.err)
    assert none_alive(members)


@linux
async def test_a_demo_that_is_killed_leaves_nothing_behind(start: Start) -> None:
    demo = await start("demo", "--port", "0")
    await demo.line("The page")
    members = family(demo.process.pid)
    assert len(members) == 6
    await demo.stop(signal.SIGKILL)
    await until(partial(none_alive, members))


@linux
async def test_a_demo_that_is_stopped_while_it_starts_leaves_nothing_behind(start: Start) -> None:
    for count in (2, 4):
        demo = await start("demo", "--port", "0")
        members = await until(partial(family_of, demo.process.pid, count))
        assert await demo.stop(signal.SIGTERM) == 0
        assert "Traceback" not in "".join(demo.err)
        await until(partial(none_alive, members))


def family_of(pid: int, count: int) -> dict[int, str]:
    found = family(pid)
    return found if len(found) >= count else {}
